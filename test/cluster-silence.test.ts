/**
 * Goal: a worker or a primary that says nothing, neither dead nor well, makes no gateway accept what it should not, nor
 * acknowledge what is not so. Method: real processes, stopped by the kernel; it takes as long as such a one is waited for.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { eventually } from '@countersign/validator/eventually'
import { verifyAcknowledgement } from '../validator/src/acknowledgement.ts'
import { Connections, enrolmentOf, start, verdicts, WORKERS, withToken, workersOf } from './cluster.ts'

test('T118 T120 T123: a worker that hangs is not acknowledged for, until it has answered or is gone', async (t) => {
  const edge = await start(t)
  await edge.authority.acknowledged(1)
  const versions = (): number[] =>
    edge.authority.acknowledgements.map(
      (each) => verifyAcknowledgement(each, () => enrolmentOf(edge).jwk).version,
    )
  const [one = 0, other = 0] = workersOf(edge)
  // It comes to itself: then it has applied what it was told before it decides anything.
  process.kill(one, 'SIGSTOP')
  edge.world.setState(edge.world.keys.enterprise.kid, 'blocked')
  edge.authority.push()
  await delay(1500)
  assert.deepEqual(versions(), [1], 'the other has it since long, and that is not enough')
  const acknowledged = edge.authority.acknowledged(2)
  process.kill(one, 'SIGCONT')
  await acknowledged
  assert.deepEqual(versions(), [1, 2])
  // It does not: the kernel ends it, and what is left has applied it.
  const connections = new Connections(t)
  const token = edge.issue()
  assert.deepEqual(verdicts(await connections.ask(edge, withToken(token))), ['200'])
  process.kill(other, 'SIGSTOP')
  const killedAt = edge.kill()
  await delay(1500)
  assert.deepEqual(versions(), [1, 2])
  await edge.authority.acknowledged(3)
  t.diagnostic(`a worker that hangs is gone after ${((performance.now() - killedAt) / 1000).toFixed(1)} s`)
  assert.ok(!workersOf(edge).includes(other))
  assert.match(edge.gateway.log, /"worker":2.*does not answer/)
  await eventually(() => workersOf(edge).length === WORKERS)
  assert.deepEqual(verdicts(await new Connections(t).ask(edge, withToken(token))), ['key_revoked'])
})

test('T115 T121: a worker that hears nothing from its primary fails closed, whatever the authority says', async (t) => {
  // What was vouched for so long ago is believed for 20 s more.
  const edge = await start(t, { vouchedSecondsAgo: 40 })
  const connections = new Connections(t)
  const token = edge.issue()
  assert.deepEqual(verdicts(await connections.ask(edge, withToken(token))), ['200'])
  const primary = edge.gateway.process.pid ?? 0
  process.kill(primary, 'SIGSTOP')
  try {
    const stoppedAt = performance.now()
    edge.world.now = Math.floor(Date.now() / 1000)
    edge.authority.push()
    while (verdicts(await connections.ask(edge, withToken(token))).join() !== 'manifest_stale') {
      assert.ok(performance.now() - stoppedAt < 30_000)
      await delay(250)
    }
    t.diagnostic(
      `refused ${((performance.now() - stoppedAt) / 1000).toFixed(1)} s after the primary fell silent`,
    )
  } finally {
    process.kill(primary, 'SIGCONT')
  }
  await eventually(async () => verdicts(await connections.ask(edge, withToken(token))).join() === '200')
})
