/**
 * One seed from beginning to end: a world is made, so many steps are taken in it, then everything heals and must work again.
 * @module
 */

import { Actors } from './actors.ts'
import { type Invariant, Oracle, Violation } from './oracle.ts'
import { drawPlan, type Plan } from './plan.ts'
import { Random } from './random.ts'
import { System } from './system.ts'
import { endWorld, Halt } from './world.ts'

export interface Outcome {
  readonly seed: number
  readonly plan: Plan
  readonly traceHash: string
  readonly tail: readonly string[]
  readonly broken: { readonly invariant: Invariant; readonly message: string } | undefined
  readonly counts: Oracle['counts']
  readonly reasons: ReadonlyMap<string, number>
  readonly versions: number
  readonly events: number
  readonly simulatedSeconds: number
}

/** By then everything has to work again. */
const HEAL_MILLISECONDS_MAX = 400_000
const TRY_MILLISECONDS = 5000
const TRACE_LINES = 60

export async function runSeed(
  seed: number,
  steps: number,
  { traceLinesMax = TRACE_LINES }: { readonly traceLinesMax?: number | undefined } = {},
): Promise<Outcome> {
  const random = new Random(seed)
  const plan = drawPlan(random)
  const oracle = new Oracle(traceLinesMax)
  const system = new System(seed, plan, oracle)
  oracle.attach(system)
  const onRejection = (error: unknown): void => {
    const process = system.scheduler.current
    if (error instanceof Halt || process?.isAlive === false || error instanceof Violation) return
    try {
      oracle.onFault(process?.name ?? 'nobody', (error as Error).stack ?? String(error))
    } catch {}
  }
  process.on('unhandledRejection', onRejection)
  let broken: Outcome['broken']
  try {
    await system.start()
    const actors = new Actors(system)
    for (let step = 0; step < steps; step++) {
      actors.act()
      await system.scheduler.run(system.random.exponential(plan.stepMilliseconds), () => hasBroken(oracle))
      oracle.check()
    }
    actors.heal()
    await waitUntilHealed(system, actors, oracle)
    oracle.checkReleased()
    oracle.checkSerials()
  } catch (error) {
    const { violation } = oracle
    if (violation === undefined && !(error instanceof Violation)) throw error
    const { invariant, message } = violation ?? (error as Violation)
    broken = { invariant, message }
  } finally {
    process.off('unhandledRejection', onRejection)
    for (const { process } of system.services) process?.end()
    endWorld()
  }
  return {
    seed,
    plan,
    traceHash: oracle.traceHash,
    tail: oracle.tail,
    broken,
    counts: oracle.counts,
    reasons: oracle.reasons,
    versions: oracle.newest?.version ?? 0,
    events: system.scheduler.eventCount,
    simulatedSeconds: system.scheduler.now / 1000,
  }
}

async function waitUntilHealed(system: System, actors: Actors, oracle: Oracle): Promise<void> {
  const { scheduler } = system
  const until = scheduler.now + HEAL_MILLISECONDS_MAX
  for (;;) {
    const { missing } = actors.tryAll()
    await scheduler.run(TRY_MILLISECONDS, () => hasBroken(oracle))
    oracle.check()
    if (missing() === undefined) return
    if (scheduler.now > until) oracle.break('liveness', `still missing: ${missing()}`)
  }
}

function hasBroken({ violation }: Oracle): boolean {
  return violation !== undefined
}
