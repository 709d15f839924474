/**
 * Goal: whoever asks hears of each subtree that was countersigned, soon, in few signatures, and nothing is done for nobody.
 * Method: subtrees told by hand, and timers that the test moves.
 */

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mock, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { importPublicJwk } from '@countersign/validator/jws'
import { receiptKeyId } from '@countersign/validator/receipt'
import { type CountersignedSubtree, SUBTREE_COUNT_MAX, verifyRoots } from '@countersign/validator/roots'
import type { Countersigner } from './countersign.ts'
import { createRootsTeller, type RootsTeller } from './roots.ts'
import { testIdentity, testNow } from './testing.ts'

const { jwk } = importPublicJwk(testIdentity.receipt.publicKey.export({ format: 'jwk' }))

function countersignerOf(epoch: string): Countersigner {
  const origin = `witness.test/${epoch}`
  return {
    witness: 'witness.test',
    origin,
    keyId: receiptKeyId(origin, testIdentity.receipt.publicKey),
    privateKey: testIdentity.receipt.privateKey,
  }
}

const log = countersignerOf('1')
let end = 0

/** So many lone entries, each after the last. */
function lone(count: number): readonly CountersignedSubtree[] {
  return Array.from({ length: count }, () => ({ start: end++, size: 1, root: randomBytes(32) }))
}

function begin(): RootsTeller {
  mock.timers.enable({ apis: ['setTimeout'] })
  end = 0
  return createRootsTeller(() => testNow)
}

function read(statements: readonly string[]): readonly (readonly [string, readonly number[]])[] {
  return statements.map((statement) => {
    const { origin, subtrees } = verifyRoots(statement, jwk)
    return [origin, subtrees.map(({ start }) => start)]
  })
}

test.afterEach(() => mock.timers.reset())

test('what is countersigned within 50 ms is told in one statement, to whoever waits and whoever comes later', async () => {
  const teller = begin()
  const [one, other] = [teller.after(0), teller.after(0)]
  teller.tell(log, lone(2))
  mock.timers.tick(40)
  teller.tell(log, lone(1))
  await turn()
  mock.timers.tick(10)
  assert.deepEqual(read((await one).statements), [['witness.test/1', [0, 1, 2]]])
  assert.deepEqual(await other, await one)
  assert.equal((await one).next, 1)
  assert.deepEqual(await teller.after(0), await one)

  const later = teller.after(1)
  teller.tell(log, lone(1))
  mock.timers.tick(50)
  assert.deepEqual(read((await later).statements), [['witness.test/1', [3]]])
  assert.equal((await later).next, 2)
  assert.deepEqual(
    read((await teller.after(0)).statements).flatMap(([, starts]) => starts),
    [0, 1, 2, 3],
  )
})

test('without news there is no statement, and whoever waits is told so after 2 s', async () => {
  const teller = begin()
  const asked = teller.after(0)
  mock.timers.tick(2000)
  assert.deepEqual(await asked, { statements: [], next: 0 })
})

test('while nobody asks nothing is signed, and nothing is owed to who asks afterwards', async () => {
  const teller = begin()
  teller.tell(log, lone(5))
  mock.timers.tick(1000)
  const asked = teller.after(0)
  mock.timers.tick(2000)
  assert.deepEqual((await asked).statements, [])
})

test('a flood is cut into statements of 1024, of which the newest 64 are kept', async () => {
  const teller = begin()
  const asked = teller.after(0)
  teller.tell(log, lone(70 * SUBTREE_COUNT_MAX + 1))
  mock.timers.tick(50)
  const { statements, next } = await asked
  assert.deepEqual([statements.length, next], [64, 71])
  const starts = read(statements).map(([, each]) => each)
  assert.deepEqual([starts.at(0)?.[0], starts.at(0)?.length], [7 * SUBTREE_COUNT_MAX, SUBTREE_COUNT_MAX])
  assert.deepEqual(starts.at(-1), [70 * SUBTREE_COUNT_MAX])
  assert.ok(statements.every(({ length }) => length < 64 * 1024))
  assert.equal((await teller.after(69)).statements.length, 2)
})

test('a statement is of one log: what is left of an epoch goes before the next', async () => {
  const teller = begin()
  const asked = teller.after(0)
  teller.tell(log, lone(2))
  end = 0
  teller.tell(countersignerOf('2'), lone(1))
  assert.deepEqual(read((await asked).statements), [['witness.test/1', [0, 1]]])
  const next = teller.after(1)
  mock.timers.tick(50)
  assert.deepEqual(read((await next).statements), [['witness.test/2', [0]]])
})

test('T265: who has heard more of another process gets all that this one keeps', async () => {
  const teller = begin()
  const asked = teller.after(0)
  teller.tell(log, lone(1))
  mock.timers.tick(50)
  await asked
  const { statements, next } = await teller.after(1000)
  assert.deepEqual([statements.length, next], [1, 1])
})

test('closing lets nobody wait on', async () => {
  const teller = begin()
  const asked = teller.after(0)
  teller.close()
  assert.deepEqual((await asked).statements, [])
})
