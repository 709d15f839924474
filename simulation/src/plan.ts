/**
 * What kind of world a seed makes: how many of each, and which of the things that can go wrong do. Each seed leaves some of
 * them out, so that none hides another for ever.
 * @module
 */

import type { Random } from './random.ts'

export const hazards = [
  'partitions',
  'delays',
  'losses',
  'duplicates',
  'crashes',
  'power-cuts',
  'deaths-at-writes',
  'clock-jumps',
  'skewed-clocks',
  'kills',
  'rotations',
  'cutoffs',
  'retirements',
  'new-epochs',
  'replays',
  'forgeries',
  'old-backups',
  'charters',
  'lifts',
  'broken-glass',
] as const
export type Hazard = (typeof hazards)[number]

/** Of the slowest cache, short enough that a key lives through all its states within minutes. */
export const CACHE_SECONDS = 10

export interface Plan {
  readonly realms: readonly RealmName[]
  readonly validatorCount: number
  readonly hazards: ReadonlySet<Hazard>
  /** How long steps are apart, on average. */
  readonly stepMilliseconds: number
  readonly freshnessSeconds: number
  readonly rotationSeconds: number
  readonly acknowledgeSeconds: number
  /** Some tokens outlive what a validator may be stale by, or no stale one could accept a token of a dead key. */
  readonly tokenSeconds: number
}

export type RealmName = 'consumer' | 'enterprise'

export function drawPlan(random: Random): Plan {
  return {
    realms: random.chance(0.25) ? ['consumer', 'enterprise'] : ['consumer'],
    validatorCount: random.weighted([
      [1, 2],
      [2, 4],
      [3, 2],
      [5, 1],
    ]),
    hazards: new Set(hazards.filter(() => random.chance(0.55))),
    stepMilliseconds: random.pick([100, 250, 800]),
    freshnessSeconds: random.pick([5, 10, 20]),
    acknowledgeSeconds: random.pick([20, 45]),
    tokenSeconds: random.pick([30, 180, 180]),
    rotationSeconds: random.pick([30, 30, 60, 120]),
  }
}
