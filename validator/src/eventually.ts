/**
 * For tests: waits for what comes by itself and tells nobody, looking again at each turn of the event loop.
 * @module
 */

const MILLISECONDS_MAX = 20_000

/** Settles once it is so. Throws after a while, since a test that waits for ever takes all others with it. */
export async function eventually(isSo: () => boolean | Promise<boolean>): Promise<void> {
  const endsAt = performance.now() + MILLISECONDS_MAX
  while (!(await isSo())) {
    if (performance.now() > endsAt) throw new Error(`did not come about: ${isSo}`)
    await new Promise((resolve) => setImmediate(resolve))
  }
}
