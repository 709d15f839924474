/**
 * A signature whose answer is not known yet, where nobody can be asked on the spot: thrown through whatever is being decided,
 * which has to end there as if it had never begun. It is no error and no refusal, and says nothing about any token. See settle.ts.
 * @module
 */

import type { KeyObject } from 'node:crypto'
import type { Algorithm } from './jws.ts'

/** Whether the holder of the key signed the input. */
export type SignatureQuestion = readonly [
  algorithm: Algorithm,
  key: KeyObject,
  input: string | Uint8Array,
  signature: Uint8Array,
]

export class Suspension {
  readonly questions: readonly SignatureQuestion[]
  constructor(questions: readonly SignatureQuestion[]) {
    this.questions = questions
  }
}

/** One after the other. Where the first has to wait for a signature, the second is asked for its own as well. */
export function together(first: () => void, second: () => void): void {
  try {
    first()
  } catch (thrown) {
    if (thrown instanceof Suspension) join(thrown, second)
    throw thrown
  }
  second()
}

/** What else is wrong comes to light when the first is known. */
function join({ questions }: Suspension, second: () => void): void {
  try {
    second()
  } catch (thrown) {
    if (thrown instanceof Suspension) throw new Suspension([...questions, ...thrown.questions])
  }
}

/**
 * `run` for each item, as `map` does. Where one has to wait for a signature, the others are asked for theirs as well, so that
 * a long list waits once; what is wrong with a later one comes to light when the earlier ones are known.
 */
export function each<Item, Result>(
  items: readonly Item[],
  run: (item: Item, index: number) => Result,
): readonly Result[] {
  const questions: SignatureQuestion[] = []
  const results: Result[] = []
  for (const [index, item] of items.entries()) {
    try {
      results.push(run(item, index))
    } catch (thrown) {
      if (thrown instanceof Suspension) questions.push(...thrown.questions)
      else if (questions.length === 0) throw thrown
      else break
    }
  }
  if (questions.length > 0) throw new Suspension(questions)
  return results
}
