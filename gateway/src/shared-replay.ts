/**
 * The replay cache of a worker: proofs are remembered by its primary, for all workers. What comes in one turn of the event loop is
 * asked in one question. A primary that does not answer has remembered nothing, so the proof is no new one.
 * @module
 */

import type { ReplayCache, ShownProof } from '@countersign/validator/replay'

/** A proxy waits for the decision, and a primary answers within a millisecond. */
export const ANSWER_MILLISECONDS_MAX = 2000

/** `ask` says of each whether it is new, and may reject. */
export function createSharedReplay(
  ask: (proofs: readonly ShownProof[]) => Promise<readonly boolean[]>,
): ReplayCache {
  let gathering: { readonly proofs: ShownProof[]; readonly answers: Promise<readonly boolean[]> } | undefined

  return {
    add: async (proof) => {
      gathering ??= gather()
      const { proofs, answers } = gathering
      const place = proofs.push(proof) - 1
      return (await answers)[place] === true
    },
  }

  function gather(): NonNullable<typeof gathering> {
    const proofs: ShownProof[] = []
    const answers = new Promise<readonly boolean[]>((resolve) =>
      setImmediate(() => {
        gathering = undefined
        ask(proofs).then(resolve, () => resolve([]))
      }),
    )
    return { proofs, answers }
  }
}
