/**
 * Simulated time. Whatever waits (a timer, a disk, a message) is an event with its time; the scheduler takes the next
 * one, makes its process the current one, runs it, lets every promise settle that can, and only then takes another. So
 * nothing happens at once with anything else, and the order of everything follows from the seed.
 * @module
 */

import { setImmediate as takeTurn } from 'node:timers'
import type { Disk } from './disk.ts'

/** A machine: its clock, which may be wrong, and its disk. */
export interface Host {
  readonly name: string
  /** How far its clock is ahead of the true time. */
  skewMilliseconds: number
  readonly disk: Disk
}

/** A process on a host. When it has ended, nothing that it waited for comes to pass. */
export class Process {
  readonly name: string
  readonly host: Host
  readonly startedAt: number
  /** Undefined for one that dies when it is killed and not before. */
  dieAtWrite: number | undefined
  isAlive = true
  readonly #ends = new Set<() => void>()

  constructor(name: string, host: Host, startedAt: number) {
    this.name = name
    this.host = host
    this.startedAt = startedAt
  }

  /** Calls `end` when the process has ended. Gives back what takes that back. */
  onEnd(end: () => void): () => void {
    this.#ends.add(end)
    return () => this.#ends.delete(end)
  }

  end(): void {
    if (!this.isAlive) return
    this.isAlive = false
    for (const end of [...this.#ends]) end()
    this.#ends.clear()
  }
}

export interface Event {
  readonly time: number
  readonly order: number
  readonly process: Process
  readonly run: () => void
  isCancelled: boolean
}

/** Callbacks that the real event loop holds ready for us; each runs with its own turn of the promise queue. */
const TURNS = 256

export class Scheduler {
  /** Milliseconds of true time since the world began. */
  now = 0
  /** Whose code runs now; undefined between events, when the simulation itself does. */
  current: Process | undefined
  eventCount = 0
  readonly #heap: Event[] = []
  #order = 0

  /** Runs `run` as `process`, after so long. */
  after(milliseconds: number, process: Process, run: () => void): Event {
    const event: Event = {
      time: this.now + Math.max(0, milliseconds),
      order: this.#order++,
      process,
      run,
      isCancelled: false,
    }
    this.#push(event)
    return event
  }

  /** Goes on with `run` as another process, within this event. */
  enter(process: Process, run: () => void): void {
    if (!process.isAlive) return
    this.current = process
    run()
  }

  /** Lets the world go on for so long, or until `isOver` says so. */
  run(milliseconds: number, isOver: () => boolean = () => false): Promise<void> {
    const until = this.now + milliseconds
    return new Promise((resolve, reject) => {
      let waiting = 0
      let isDone = false
      const finish = (): void => {
        isDone = true
        this.current = undefined
      }
      const turn = (): void => {
        waiting--
        if (isDone) return
        try {
          const next = this.#heap[0]
          if (isOver() || next === undefined || next.time > until) {
            if (!isOver()) this.now = until
            finish()
            resolve()
            return
          }
          this.#pop()
          this.now = Math.max(this.now, next.time)
          if (!next.isCancelled && next.process.isAlive) {
            this.eventCount++
            this.current = next.process
            next.run()
          }
          if (waiting === 0) wait()
        } catch (error) {
          finish()
          reject(error)
        }
      }
      const wait = (): void => {
        while (waiting < TURNS) {
          waiting++
          // The module's: the global one is simulated.
          takeTurn(turn)
        }
      }
      wait()
    })
  }

  #push(event: Event): void {
    const heap = this.#heap
    let at = heap.push(event) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!isBefore(event, heap[parent] as Event)) break
      heap[at] = heap[parent] as Event
      at = parent
    }
    heap[at] = event
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop() as Event
    if (heap.length === 0) return
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && isBefore(heap[child + 1] as Event, heap[child] as Event)) child++
      if (!isBefore(heap[child] as Event, last)) break
      heap[at] = heap[child] as Event
      at = child
    }
    heap[at] = last
  }
}

function isBefore(one: Event, other: Event): boolean {
  return one.time < other.time || (one.time === other.time && one.order < other.order)
}
