/**
 * Goal: whatever a signer's process does, its supervisor can be stopped, and leaves no process behind. Method: processes that
 * the test plays, so that it decides when each comes up and when it ends.
 */

import { test } from 'node:test'
import { createLog } from '@countersign/service'
import type { SignerProcess } from '@countersign/signer/client'
import { superviseSigner } from './supervise.ts'

test('K12: stopped while another process comes up in place of one that ended, it stops that one too', async () => {
  const [first, second] = [playedProcess(), playedProcess()]
  const comesUp = Promise.withResolvers<SignerProcess>()
  const isAsked = Promise.withResolvers<void>()
  const starts = [
    async () => first,
    () => {
      isAsked.resolve()
      return comesUp.promise
    },
  ]
  const log = createLog('broker')
  log.level = 'silent'
  const signer = await superviseSigner({
    realm: 'consumer',
    start: () => (starts.shift() as () => Promise<SignerProcess>)(),
    log,
    retryMilliseconds: 1,
  })
  first.kill()
  await isAsked.promise
  const stopped = signer.stop()
  comesUp.resolve(second)
  await second.exited
  await stopped
})

function playedProcess(): SignerProcess {
  const { promise: exited, resolve } = Promise.withResolvers<void>()
  return {
    pid: 0,
    description: { identity: 'played', protection: 'low', keys: [] },
    exited,
    trust: async () => 1,
    prepare: async () => [],
    sign: async () => [],
    generate: () => Promise.reject(new Error('makes no keys')),
    describe: () => Promise.reject(new Error('is not asked')),
    counters: async () => [],
    stop: async () => resolve(),
    kill: resolve,
  }
}
