/**
 * Peers measured side by side: every round gives each contender the same short time, one after the other, so that a
 * machine that slows down slows all of them. Quoted are medians, and ratios as the median of each round's ratio.
 * @module
 */

export interface Contender {
  readonly name: string
  /** Works for about `milliseconds` and returns how many operations per second it managed. */
  readonly measure: (milliseconds: number) => Promise<number> | number
}

export interface Result {
  readonly name: string
  readonly perSecond: number
  /** Against the contender that was named the base; 1 is the same speed. */
  readonly ratio: number
  /** Operations per second of each round, in order. */
  readonly rounds: readonly number[]
}

export async function runRounds(
  contenders: readonly Contender[],
  {
    base,
    rounds,
    milliseconds,
  }: { readonly base: string; readonly rounds: number; readonly milliseconds: number },
): Promise<Result[]> {
  const baseIndex = contenders.findIndex(({ name }) => name === base)
  for (const { measure } of contenders) await measure(milliseconds / 2)
  const measured: number[][] = []
  for (let round = 0; round < rounds; round++) {
    const row: number[] = []
    for (const { measure } of contenders) row.push(await measure(milliseconds))
    measured.push(row)
  }
  return contenders.map(({ name }, index) => ({
    name,
    perSecond: median(measured.map((row) => row[index] ?? 0)),
    ratio: median(measured.map((row) => (row[index] ?? 0) / (row[baseIndex] ?? 1))),
    rounds: measured.map((row) => row[index] ?? 0),
  }))
}

/** One contender against another that was not the base. */
export function ratioBetween(one: Result | undefined, other: Result | undefined): number {
  return median((one?.rounds ?? []).map((perSecond, round) => perSecond / (other?.rounds[round] ?? 1)))
}

/** A contender around a synchronous call. `prepare` runs before each round, outside the measured time. */
export function synchronous(
  name: string,
  call: (turn: number) => unknown,
  prepare: () => void = () => {},
): Contender {
  return {
    name,
    measure: (milliseconds) => {
      prepare()
      const startedAt = performance.now()
      let count = 0
      // The clock is asked once in 64 calls: at half a million calls a second it would be part of what is measured.
      while (performance.now() - startedAt < milliseconds) for (let i = 0; i < 64; i++) call(count++)
      return (count / (performance.now() - startedAt)) * 1000
    },
  }
}

/** The same around a call that gives a promise, one after the other. */
export function awaited(name: string, call: (turn: number) => Promise<unknown>): Contender {
  return {
    name,
    measure: async (milliseconds) => {
      const startedAt = performance.now()
      let count = 0
      while (performance.now() - startedAt < milliseconds) for (let i = 0; i < 64; i++) await call(count++)
      return (count / (performance.now() - startedAt)) * 1000
    },
  }
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  return ((sorted[(sorted.length - 1) >> 1] ?? Number.NaN) + (sorted[sorted.length >> 1] ?? Number.NaN)) / 2
}
