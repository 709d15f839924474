/**
 * Goal: a root counts exactly where the witness signed it, for this log under this key; what is forged, old, cut, mixed up or
 * contradictory costs nothing but time. Method: vectors of a second implementation; statements over a test world's
 * log, each fault in turn, and the verdict of a validator that knows what was taken.
 */

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import test from 'node:test'
import fc from 'fast-check'
import { decode, encode } from './base64url.ts'
import { DocumentRefusal, encodePayload } from './document.ts'
import type { PublicJwk } from './jws.ts'
import type { ManifestLog } from './manifest.ts'
import { countersignedMessage, encodeReceipt, type Receipt } from './receipt.ts'
import {
  PushedRoots,
  ROOTS_CHARACTERS_MAX,
  SplitRoots,
  SUBTREE_COUNT_MAX,
  signRoots,
  verifyRoots,
} from './roots.ts'
import { signStatement } from './statement.ts'
import { flipped, receiptOf, subtreeOf, tellRoots, withReceipt, wrongSignature } from './test-roots.ts'
import {
  createTestKey,
  createTestWitness,
  createTestWorld,
  mailAudience,
  type TestWorld,
  verdictOf,
} from './testing.ts'
import { createValidator } from './validator.ts'

interface Vectors {
  readonly origin: string
  readonly receipt_key: PublicJwk
  readonly iat: number
  readonly cases: readonly {
    readonly name: string
    readonly subtrees: readonly { readonly start: number; readonly size: number; readonly root: string }[]
    readonly statement: string
  }[]
  readonly refused: readonly {
    readonly name: string
    readonly flaw: DocumentRefusal['flaw']
    readonly statement: string
  }[]
}

const TYPE = 'countersign-roots+jwt'
const other = createTestKey('ES256')

interface Scene {
  readonly world: TestWorld
  readonly roots: PushedRoots
  /** What receipts showed against what was told. */
  readonly splits: readonly SplitRoots[]
  /** For each receipt that was asked for in turn, whether its root was known. */
  readonly answers: readonly boolean[]
  verdict(token: string): string
  /** Lets time pass, in milliseconds. */
  wait(milliseconds: number): void
  /** What the world's witness, or whoever has `key`, says of the subtrees of these tokens. */
  told(tokens: readonly string[], key?: typeof other): string
}

function begin(): Scene {
  const world = createTestWorld()
  const splits: SplitRoots[] = []
  const answers: boolean[] = []
  let clock = 0
  const roots = new PushedRoots({ onSplit: (proof) => splits.push(proof), monotonic: () => clock })
  roots.follow(world.state)
  const validator = createValidator({
    realm: 'consumer',
    audience: mailAudience,
    now: () => world.now,
    trust: {
      get state() {
        return world.state
      },
      ageSeconds: () => 0,
      roots: {
        has: (...asked) => {
          const answer = roots.has(...asked)
          answers.push(answer)
          return answer
        },
        compare: (...found) => roots.compare(...found),
      },
    },
  })
  return {
    world,
    roots,
    splits,
    answers,
    verdict: (token) => {
      return verdictOf(validator.decide(token))
    },
    wait: (milliseconds) => {
      clock += milliseconds
    },
    told: (tokens, by) => tellRoots(world, tokens, by?.privateKey),
  }
}

function logOf({ state }: TestWorld): ManifestLog {
  return [...state.manifest.logs.values()][0] as ManifestLog
}

function refuses(roots: PushedRoots, statement: string, flaw: DocumentRefusal['flaw']): void {
  assert.throws(
    () => roots.take(statement),
    (error) => error instanceof DocumentRefusal && error.flaw === flaw,
    flaw,
  )
}

test('tokens of told subtrees are accepted with no signature of a receipt verified', () => {
  const { world, roots, answers, verdict, told } = begin()
  const tokens = [world.issue(), ...world.issueBatch(Array.from({ length: 70 }, () => ({})))]
  assert.equal(roots.take(told(tokens)), true)
  for (const token of tokens) assert.equal(verdict(token), 'accepted')
  // Once for each subtree is enough.
  assert.ok(answers.length < tokens.length && answers.every(Boolean))
  // Were one verified, it would be found wrong.
  for (const token of tokens) assert.equal(verdict(withReceipt(world, token, wrongSignature)), 'accepted')
})

test('a token that comes before its root is accepted by its own signature, and only by that', () => {
  const { world, roots, answers, verdict, told } = begin()
  const token = world.issue()
  assert.equal(verdict(withReceipt(world, token, wrongSignature)), 'receipt_invalid')
  assert.equal(verdict(token), 'accepted')
  assert.deepEqual(answers, [false, false])
  roots.take(told([token]))
  assert.equal(verdict(withReceipt(world, token, wrongSignature)), 'accepted')
})

test('T125 T126 T130: with roots known, a token needs its own entry, its own place and its whole path', () => {
  const { world, roots, verdict, told } = begin()
  const [first = '', second = ''] = world.issueBatch([{}, {}, {}, {}, {}])
  roots.take(told([first]))
  const stolen = encodeReceipt(receiptOf(second))
  assert.equal(verdict(world.issue({ receipt: stolen })), 'receipt_invalid', 'an entry that was never logged')
  assert.equal(verdict(world.issue({ receipt: null })), 'receipt_missing')
  const changes: ((receipt: Receipt) => Partial<Receipt>)[] = [
    ({ serial }) => ({ serial: serial + 1 }),
    ({ offset }) => ({ offset: offset ^ 1 }),
    ({ start, size }) => ({ start: start + 8 * size }),
    ({ keyId }) => ({ keyId: keyId ^ 1 }),
    ...receiptOf(first).path.map((_, at) => ({ path }: Receipt) => ({
      path: path.map((hash, index) => (index === at ? flipped(hash) : hash)),
    })),
  ]
  for (const change of changes) assert.equal(verdict(withReceipt(world, first, change)), 'receipt_invalid')
  assert.equal(verdict(first), 'accepted')
})

test('a kill takes effect at the next call, whatever roots are known', () => {
  const { world, roots, verdict, told } = begin()
  const token = world.issue()
  roots.take(told([token]))
  assert.equal(verdict(token), 'accepted')
  world.setState(world.keys.consumer.kid, 'revoked')
  roots.follow(world.state)
  assert.equal(verdict(token), 'key_revoked')
})

test('T128: a statement counts by the receipt key of its own log alone', () => {
  const { world, roots, verdict, told } = begin()
  const token = withReceipt(world, world.issue(), wrongSignature)
  const { origin, checkpointKey, name } = world.witness
  const subtrees = [subtreeOf(world, token)]
  for (const key of [other, world.manifestKey, world.keys.consumer]) {
    refuses(roots, told([token], key), 'signature_invalid')
  }
  refuses(roots, signRoots(origin, subtrees, world.now, checkpointKey.privateKey), 'signature_invalid')
  const { privateKey } = world.witness.receiptKey
  for (const unknown of [`${name}/2027`, 'another.example/2026', '__proto__', '']) {
    assert.throws(() => roots.take(signRoots(unknown, subtrees, world.now, privateKey)), DocumentRefusal)
  }
  const good = told([token])
  const [header, payload, signature = ''] = good.split('.')
  refuses(roots, [header, payload, encode(flipped(decode(signature)))].join('.'), 'signature_invalid')
  assert.equal(verdict(token), 'receipt_invalid')
  roots.take(good)
  assert.equal(verdict(token), 'accepted')
})

test('T102 T128: what was told of a log ends with the log, and with its key', () => {
  const { world, roots, verdict, told } = begin()
  const token = withReceipt(world, world.issue(), wrongSignature)
  const statement = told([token])
  const log = logOf(world)
  const { start, size, root } = subtreeOf(world, token)
  roots.take(statement)
  assert.equal(roots.has(log, start, size, root), true)

  roots.follow(world.publish())
  assert.notEqual(logOf(world), log)
  assert.equal(roots.has(log, start, size, root), false, 'a log of a manifest that is not in force')
  assert.equal(roots.has(logOf(world), start, size, root), true, 'the same log under a newer manifest')
  assert.equal(verdict(token), 'accepted')

  const { manifest, charter } = world.state
  const before = { ...manifest, logs: new Map() }
  roots.follow({ charter, manifest: before })
  assert.equal(roots.has(logOf(world), start, size, root), false)
  refuses(roots, statement, 'out_of_charter')
  roots.follow(world.state)
  assert.equal(roots.has(logOf(world), start, size, root), false, 'a log that comes back begins anew')

  roots.take(statement)
  const witnesses = charter.witnesses.map((witness) => ({ ...witness, receiptKey: other.jwk }))
  roots.follow({ charter: { ...charter, witnesses }, manifest })
  assert.equal(roots.has(logOf(world), start, size, root), false, 'the same log under another key')
  refuses(roots, statement, 'signature_invalid')
})

test('T127: two witnesses do not speak for each other', () => {
  const { world, roots } = begin()
  const rival = createTestWitness('rival.example', '2026')
  const [mine] = [world.witness]
  const { manifest, charter } = world.state
  const rivalLog: ManifestLog = {
    ...logOf(world),
    origin: rival.origin,
    witness: rival.name,
    receiptKeyId: 7,
  }
  roots.follow({
    manifest: { ...manifest, logs: new Map([...manifest.logs, [7, rivalLog]]) },
    charter: {
      ...charter,
      witnesses: [
        ...charter.witnesses,
        { name: rival.name, receiptKey: rival.receiptKey.jwk, checkpointKeys: [rival.checkpointKey.jwk] },
      ],
    },
  })
  const subtree = { start: 4, size: 2, root: randomBytes(32) }
  refuses(roots, signRoots(mine.origin, [subtree], 0, rival.receiptKey.privateKey), 'signature_invalid')
  refuses(roots, signRoots(rival.origin, [subtree], 0, mine.receiptKey.privateKey), 'signature_invalid')
  roots.take(signRoots(rival.origin, [subtree], 0, rival.receiptKey.privateKey))
  assert.equal(roots.has(rivalLog, 4, 2, subtree.root), true)
  assert.equal(roots.has(logOf(world), 4, 2, subtree.root), false)
})

test('a statement that is played again, or comes twice, changes nothing', () => {
  const { world, roots, splits, verdict, told } = begin()
  const [first, second] = [world.issue(), world.issue()]
  const old = told([first])
  for (const statement of [old, told([first, second]), old, old]) assert.equal(roots.take(statement), true)
  for (const token of [first, second]) assert.equal(verdict(token), 'accepted')
  assert.deepEqual(splits, [])
})

test('T114 T136: two roots for one range are proof against the witness, by statements or by a receipt', () => {
  const { world, roots, verdict, told } = begin()
  const { origin, receiptKey } = world.witness
  const [token, next] = [world.issue(), world.issue()]
  const subtree = subtreeOf(world, token)
  const honest = told([token])
  roots.take(honest)
  const lie = signRoots(
    origin,
    [{ ...subtree, root: randomBytes(32) }, subtreeOf(world, next)],
    world.now,
    receiptKey.privateKey,
  )
  assert.throws(
    () => roots.take(lie),
    (error) => {
      assert.ok(error instanceof SplitRoots)
      assert.deepEqual([error.origin, error.start, error.size], [origin, subtree.start, subtree.size])
      assert.deepEqual(error.proofs, [honest, lie])
      const signed = error.proofs.map((proof) => verifyRoots(proof as string, receiptKey.jwk).subtrees[0])
      assert.notDeepEqual(signed[0]?.root, signed[1]?.root)
      return true
    },
  )
  const untold = subtreeOf(world, next)
  assert.equal(roots.has(logOf(world), untold.start, untold.size, untold.root), false)
  assert.equal(verdict(token), 'accepted')

  // The lie came first: the token whose entry it hides is judged by its own signature.
  const fooled = begin()
  const hidden = fooled.world.issue()
  const place = subtreeOf(fooled.world, hidden)
  const wrong = signRoots(
    fooled.world.witness.origin,
    [{ ...place, root: randomBytes(32) }],
    0,
    fooled.world.witness.receiptKey.privateKey,
  )
  fooled.roots.take(wrong)
  assert.equal(fooled.verdict(hidden), 'accepted')
  assert.equal(fooled.verdict(withReceipt(fooled.world, hidden, wrongSignature)), 'receipt_invalid')
  const { signature } = receiptOf(hidden)
  assert.deepEqual(
    fooled.splits.map(({ proofs }) => proofs),
    [[wrong, { root: place.root, signature }]],
  )
})

test('many refusals in a row are no longer looked at, and one more each second', () => {
  const { world, roots, wait, told } = begin()
  const forged = told([world.issue()], other)
  const good = told([world.issue()])
  for (let at = 0; at < 16; at++) refuses(roots, forged, 'signature_invalid')
  assert.equal(roots.take(forged), false)
  assert.equal(roots.take(good), false)
  wait(1000)
  assert.equal(roots.take(good), true)
  refuses(roots, forged, 'signature_invalid')
  assert.equal(roots.take(good), false)
  wait(60_000)
  for (let at = 0; at < 16; at++) refuses(roots, forged, 'signature_invalid')
  assert.equal(roots.take(good), false)
})

test('what a witness signs, whoever has its key reads, for any subtrees', () => {
  const { witness } = createTestWorld()
  const subtree = fc
    .tuple(fc.integer({ min: 1, max: 32 }), fc.nat(2 ** 40), fc.uint8Array({ minLength: 32, maxLength: 32 }))
    .map(([size, window, root]) => ({ start: window * 32, size, root }))
  fc.assert(
    fc.property(fc.uniqueArray(subtree, { selector: ({ start }) => start, minLength: 1 }), (unordered) => {
      const subtrees = unordered.toSorted((one, two) => one.start - two.start)
      const statement = signRoots(witness.origin, subtrees, 1_800_000_000, witness.receiptKey.privateKey)
      const read = verifyRoots(statement, witness.receiptKey.jwk)
      assert.equal(read.origin, witness.origin)
      assert.deepEqual(
        read.subtrees.map(({ root, ...range }) => ({ ...range, root: [...root] })),
        subtrees.map(({ start, size, root }) => ({ start, size, root: [...root] })),
      )
    }),
    { seed: 11, numRuns: 100 },
  )
})

const vectors = JSON.parse(
  readFileSync(new URL('../../spec/vectors/roots.json', import.meta.url), 'utf8'),
) as Vectors

test('a second implementation writes what is read here', () => {
  for (const { name, subtrees, statement } of vectors.cases) {
    const read = verifyRoots(statement, vectors.receipt_key)
    assert.equal(read.origin, vectors.origin, name)
    assert.deepEqual(
      read.subtrees.map(({ root, ...range }) => ({ ...range, root: encode(root) })),
      subtrees,
      name,
    )
    const { privateKey } = createTestKey('ES256')
    const own = signRoots(vectors.origin, read.subtrees, vectors.iat, privateKey)
    assert.equal(own.split('.')[1], statement.split('.')[1], name)
  }
  for (const { name, flaw, statement } of vectors.refused) {
    assert.throws(() => verifyRoots(statement, vectors.receipt_key), { flaw }, name)
  }
})

const aRoot = Buffer.alloc(32, 5)
const malformed: Readonly<Record<string, Record<string, unknown>>> = {
  'no roots': { roots: undefined },
  'an empty list': { roots: '' },
  'roots that are no base64url': { roots: 'AA=' },
  'roots that are no text': { roots: ['AQEA'] },
  'a root cut off': { roots: encode(Buffer.from([1, 1, ...aRoot.subarray(1)])) },
  'bytes left over': { roots: encode(Buffer.from([1, 1, ...aRoot, 1])) },
  'a size of 0': { roots: encode(Buffer.from([0, 1, ...aRoot])) },
  'a size of 33': { roots: encode(Buffer.from([33, 33, ...aRoot])) },
  'a distance of 0': { roots: encode(Buffer.from([1, 1, ...aRoot, 1, 0, ...aRoot])) },
  'a range that is no subtree': { roots: encode(Buffer.from([2, 3, ...aRoot])) },
  'a range that begins before the log': { roots: encode(Buffer.from([2, 1, ...aRoot])) },
  'a varint that is not the shortest': { roots: encode(Buffer.from([0x81, 0, 1, ...aRoot])) },
  'an end of 2^48': { roots: encode(Buffer.from([1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40, ...aRoot])) },
  'an end beyond 2^53': { roots: encode(Buffer.from([1, ...Array(9).fill(0xff), 0x7f, ...aRoot])) },
  'a time that is none': { iat: 'now' },
  'another member': { version: 1 },
  'too many subtrees': {
    roots: encode(Buffer.concat(Array(SUBTREE_COUNT_MAX + 1).fill(Buffer.from([1, 1, ...aRoot])))),
  },
}

for (const [name, change] of Object.entries(malformed)) {
  test(`a statement with ${name} is refused, though the witness signed it`, () => {
    const { world, roots } = begin()
    const { origin, receiptKey } = world.witness
    const payload = { origin, iat: world.now, roots: encode(Buffer.from([1, 1, ...aRoot])) }
    assert.equal(roots.take(signStatement(TYPE, payload, receiptKey.privateKey)), true)
    refuses(roots, signStatement(TYPE, { ...payload, ...change }, receiptKey.privateKey), 'malformed')
  })
}

test('a statement of another type, another algorithm or without end is refused', () => {
  const { world, roots, told } = begin()
  const { origin, receiptKey } = world.witness
  const payload = { origin, iat: world.now, roots: encode(Buffer.from([1, 1, ...aRoot])) }
  refuses(roots, signStatement('manifest-freshness+jwt', payload, receiptKey.privateKey), 'type_mismatch')
  refuses(roots, world.issue(), 'type_mismatch')
  const [, segment, signature] = told([world.issue()]).split('.')
  for (const header of [{ alg: 'none' }, { alg: 'ES256', jwk: receiptKey.jwk }, { alg: 'EdDSA' }]) {
    const changed = encodePayload({ typ: TYPE, kid: receiptKey.kid, ...header })
    assert.throws(() => roots.take(`${changed}.${segment}.${signature}`), DocumentRefusal)
  }
  for (const text of ['', '..', 'a.b.c', 'x'.repeat(ROOTS_CHARACTERS_MAX + 1)])
    refuses(roots, text, 'malformed')
})

test('what a receipt signs is no statement, and what a statement signs is no receipt', () => {
  const { world } = begin()
  const { origin, name, receiptKey } = world.witness
  const statement = signRoots(origin, [{ start: 0, size: 1, root: aRoot }], world.now, receiptKey.privateKey)
  assert.match(statement.slice(0, statement.lastIndexOf('.')), /^eyJ[\w.-]+$/)
  const message = Buffer.from(countersignedMessage(name, origin, { start: 0, end: 1 }, aRoot))
  assert.equal(message.subarray(0, 12).toString(), 'subtree/v1\n\0')
})

test('memory is bounded: the oldest roots are forgotten, and nothing else is', () => {
  const { world, roots } = begin()
  const { origin, receiptKey } = world.witness
  const log = logOf(world)
  const rootAt = (index: number): Buffer => {
    const root = Buffer.alloc(32)
    root.writeUInt32BE(index)
    return root
  }
  const takeFrom = (first: number): void => {
    const subtrees = Array.from({ length: SUBTREE_COUNT_MAX }, (_, at) => {
      const index = first + at
      return { start: index * 32, size: 32, root: rootAt(index) }
    })
    roots.take(signRoots(origin, subtrees, 0, receiptKey.privateKey))
  }
  const has = (index: number): boolean => roots.has(log, index * 32, 32, rootAt(index))
  const count = 310 * SUBTREE_COUNT_MAX
  for (let first = 0; first < count; first += SUBTREE_COUNT_MAX) takeFrom(first)
  const kept = Array.from({ length: count }, (_, index) => has(index))
  const oldest = kept.indexOf(true)
  assert.ok(kept.slice(oldest).every(Boolean))
  assert.ok(count - oldest >= 100_000 && count - oldest <= 200_000, String(count - oldest))
})
