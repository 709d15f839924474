/**
 * Part of a crowd of validators in a process of its own, started with `fork` by `kill.ts`: connects as many as it is told,
 * each with a stream and a signed acknowledgement of its own, says so, and ends when it is told to.
 * @module
 */

import { connectCrowd, type System } from '@countersign/cli/client'
import type { Follower } from '@countersign/validator/follow'

/** So many begin at once; a crowd at the door slows everybody. */
const AT_ONCE = 25

if (import.meta.main) {
  const [authority = '', count = '', prefix = ''] = process.argv.slice(2)
  const crowd = await gather(JSON.parse(authority) as System['authority'], Number(count), prefix)
  process.on('message', () => {
    void Promise.all(crowd.map((follower) => follower.stop())).then(() => process.exit(0))
  })
  process.send?.('connected')
}

async function gather(authority: System['authority'], count: number, prefix: string): Promise<Follower[]> {
  const crowd: Follower[] = []
  while (crowd.length < count) {
    crowd.push(...(await connectCrowd(authority, Math.min(AT_ONCE, count - crowd.length), prefix)))
  }
  return crowd
}
