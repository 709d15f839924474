/**
 * Alerts about one key, drawn together: what was done with it, from where, and what became of it.
 * @module
 */

import type { Database } from './store.ts'

export interface Incident {
  readonly kid: string
  readonly realm: string | null
  /** Milliseconds since the epoch. */
  readonly first_seen_ms: number
  readonly last_seen_ms: number
  /** How often something was found. */
  readonly count: number
  readonly rules: readonly string[]
  readonly actors: readonly string[]
  readonly alerts: readonly number[]
  /** The automatic block, if the policy ordered one. */
  readonly block: {
    readonly reason: string
    readonly ordered_ms: number
    readonly version: number | null
    readonly acknowledged_ms: number | null
    readonly failure: string | null
  } | null
}

/** Keys about which something critical was found; the newest first. */
export async function listIncidents(database: Database): Promise<Incident[]> {
  const alerts = await database
    .selectFrom('alerts')
    .selectAll()
    .where('severity', '=', 'critical')
    .where('kid', 'is not', null)
    .orderBy('id')
    .execute()
  const blocks = await database.selectFrom('blocks').selectAll().execute()
  const byKey = Map.groupBy(alerts, ({ kid }) => kid as string)
  const incidents = [...byKey].map(([kid, own]) => {
    const block = blocks.find((each) => each.kid === kid)
    return {
      kid,
      realm: own.find(({ realm }) => realm !== null)?.realm ?? null,
      first_seen_ms: Math.min(...own.map(({ first_seen_ms }) => first_seen_ms)),
      last_seen_ms: Math.max(...own.map(({ last_seen_ms }) => last_seen_ms)),
      count: own.reduce((sum, { count }) => sum + count, 0),
      rules: [...new Set(own.map(({ rule }) => rule))],
      actors: [...new Set(own.map(({ actor }) => actor).filter((actor) => actor !== null))],
      alerts: own.map(({ id }) => id),
      block: block
        ? {
            reason: block.reason,
            ordered_ms: block.ordered_ms,
            version: block.version,
            acknowledged_ms: block.failure === null ? block.settled_ms : null,
            failure: block.failure,
          }
        : null,
    }
  })
  return incidents.sort((a, b) => b.last_seen_ms - a.last_seen_ms)
}
