/**
 * The cutoffs of a manifest, of our own tokens and of others: how one more of them is taken, where there is room for so many.
 * @module
 */

import { Denial } from './denial.ts'

/**
 * A cutoff only moves forward, and takes the place of all that it reaches: where there is no more room, a wider one makes some.
 * The same list where one of it reaches as far already. Throws `Denial`.
 */
export function withCutoff<Each extends { readonly before: number }>(
  cutoffs: readonly Each[],
  cutoff: Each,
  countMax: number,
): readonly Each[] {
  if (cutoffs.some((other) => reaches(other, cutoff))) return cutoffs
  const others = cutoffs.filter((other) => !reaches(cutoff, other))
  checkRoom(others, countMax)
  return [...others, cutoff]
}

/** Whether whatever `cutoff` refuses is refused by `wider` as well: each of its names is one of the other's too. */
function reaches<Each extends { readonly before: number }>(wider: Each, cutoff: Each): boolean {
  const { before, ...names } = wider
  const given = Object.keys(names) as (keyof typeof names)[]
  return before >= cutoff.before && given.every((name) => cutoff[name] === wider[name])
}

/** Nothing is forgotten to make room: what was denied would count again. Throws `Denial`. */
export function checkRoom(list: readonly unknown[], most: number): void {
  if (list.length < most) return
  throw new Denial('command_malformed', `a manifest denies at most ${most} of them`)
}
