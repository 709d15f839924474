/**
 * Goal: one request that asks for many things gets those that its token reaches, and no proxy's look at its path is taken for an
 * answer about what it holds. Method: an endpoint that takes many operations at once, as `$batch` and GraphQL do, and asks the
 * guard for each.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { dpop } from './dpop.ts'
import { createGuard, type Guard, type GuardedRequest } from './guard.ts'
import { createTestHolder } from './test-proof.ts'
import { createTestWorld, mailAudience } from './testing.ts'
import { createValidator } from './validator.ts'

const origin = 'https://mail.example'
const target = '/$batch'

function begin() {
  const world = createTestWorld()
  const now = (): number => world.now
  const validator = createValidator({ realm: 'consumer', audience: mailAudience, trust: world.trust, now })
  const guard = createGuard(validator, { bindings: [dpop({ base: [origin], now })], now })
  return { world, guard }
}

/** Each operation by the scope that it needs; `between` runs before the last of them. */
async function answer(
  guard: Guard,
  request: GuardedRequest,
  operations: readonly string[],
  between: () => void = () => {},
): Promise<readonly string[]> {
  const answers: string[] = []
  for (const [at, scopes] of operations.entries()) {
    if (at === operations.length - 1) between()
    const admission = await guard.requiring({ scopes }).admit(request)
    answers.push(admission.admitted ? 'done' : admission.denial.reason)
  }
  return answers
}

function requestWith(rawHeaders: readonly string[]): GuardedRequest {
  return { source: {}, rawHeaders, method: 'POST', target }
}

test('T256: of many operations in one request each needs its own scope, and one too many is refused alone', async () => {
  const { world, guard } = begin()
  const request = requestWith(['Authorization', `Bearer ${world.issue()}`])
  const operations = ['mail.read', 'mail.send', 'mail.read', 'mail.delete']
  assert.deepEqual(await answer(guard, request, operations), [
    'done',
    'insufficient_scope',
    'done',
    'insufficient_scope',
  ])
})

test('T256: a key that dies while a batch is at work ends the rest of it', async () => {
  const { world, guard } = begin()
  const request = requestWith(['Authorization', `Bearer ${world.issue()}`])
  const kill = (): void => void world.setState(world.keys.consumer.kid, 'blocked')
  const operations = ['mail.read', 'mail.read', 'mail.read']
  assert.deepEqual(await answer(guard, request, operations, kill), ['done', 'done', 'key_blocked'])
})

test('T256 T150: one proof is good for all of a batch, and for no second one', async () => {
  const { world, guard } = begin()
  const holder = createTestHolder()
  const token = world.issue({ claims: { cnf: { jkt: holder.jkt } } })
  const proof = holder.prove({ method: 'POST', url: `${origin}${target}`, token, now: world.now })
  const headers = ['Authorization', `DPoP ${token}`, 'DPoP', proof]
  const operations = ['mail.read', 'mail.read']
  assert.deepEqual(await answer(guard, requestWith(headers), operations), ['done', 'done'])
  const again = ['sender_mismatch', 'sender_mismatch']
  assert.deepEqual(await answer(guard, requestWith(headers), operations), again)
})
