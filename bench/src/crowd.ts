/**
 * Part of a crowd of validators in a process of its own, started with `fork` by `kill.ts`: connects as many as it is told,
 * each with a stream and a signed acknowledgement of its own, says so, and ends when it is told to.
 * @module
 */

import { connectCrowd, type System } from '@countersign/cli/client'
import type { Follower } from '@countersign/validator/follow'

const [authority = '', count = '', prefix = ''] = process.argv.slice(2)
/** So many begin at once; a crowd at the door slows everybody. */
const AT_ONCE = 25

const crowd: Follower[] = []
for (let connected = 0; connected < Number(count); connected += AT_ONCE) {
  const few = Math.min(AT_ONCE, Number(count) - connected)
  crowd.push(...(await connectCrowd(JSON.parse(authority) as System['authority'], few, prefix)))
}
process.on('message', () => {
  void Promise.all(crowd.map((follower) => follower.stop())).then(() => process.exit(0))
})
process.send?.('connected')
