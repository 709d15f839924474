/**
 * The world that runs now, and what the simulated Node asks it for.
 * @module
 */

import type { Keys } from './keys.ts'
import type { Network, SimulatedSocket } from './network.ts'
import type { Random } from './random.ts'
import type { Process, Scheduler } from './scheduler.ts'

/** Ends what a process was doing when it died in the middle of it. Whoever catches it can do no harm any more. */
export class Halt extends Error {
  constructor() {
    super('the process has ended')
    this.name = 'Halt'
  }
}

/** The true time at which each world begins, in milliseconds since the epoch. */
const BEGINNING = 1_800_000_000_000

export class World {
  readonly scheduler: Scheduler
  readonly network: Network
  readonly random: Random
  readonly keys: Keys
  /** Starts the program that a process wants to run as its child. */
  readonly spawn: (args: readonly string[]) => unknown
  /** By process, the socket that it was started with as descriptor 3. */
  readonly inheritedSockets = new Map<Process, SimulatedSocket>()

  constructor(parts: Pick<World, 'scheduler' | 'network' | 'random' | 'keys' | 'spawn'>) {
    this.scheduler = parts.scheduler
    this.network = parts.network
    this.random = parts.random
    this.keys = parts.keys
    this.spawn = parts.spawn
  }

  /** Whose code runs now. */
  get process(): Process {
    return this.scheduler.current as Process
  }

  /** True time, in milliseconds since the epoch. */
  get trueTime(): number {
    return BEGINNING + this.scheduler.now
  }

  wallClock(): number {
    return Math.floor(this.trueTime + this.process.host.skewMilliseconds)
  }

  monotonicClock(): number {
    return this.scheduler.now - this.process.startedAt
  }

  inherited(descriptor: number | undefined): SimulatedSocket | undefined {
    return descriptor === 3 ? this.inheritedSockets.get(this.process) : undefined
  }
}

let world: World | undefined

export function beginWorld(begun: World): void {
  world = begun
}

export function endWorld(): void {
  world = undefined
}

/** The world, while one of its processes is the current one. */
export function worldOfNow(): World | undefined {
  return world?.scheduler.current === undefined ? undefined : world
}

export function theWorld(): World {
  if (world === undefined) throw new Error('no world runs')
  return world
}

/** Stops the code of a process that has ended meanwhile. */
export function checkAlive(): void {
  if (!theWorld().process.isAlive) throw new Halt()
}
