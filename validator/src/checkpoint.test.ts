/**
 * Goal: a checkpoint says how large one log is and what its root is, and only when that log signed it, now. Method:
 * vectors of a second implementation and of logs that exist; cosignatures in every wrong time and name.
 * @module
 */

import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { readFileSync } from 'node:fs'
import test from 'node:test'
import {
  type Checkpoint,
  checkpointVerifiers,
  cosignatureSigner,
  formatCheckpoint,
  openCheckpoint,
  parseCheckpoint,
  verifierOf,
} from './checkpoint.ts'
import { importPublicJwk } from './jws.ts'
import { ed25519Signer, openNote, signNote } from './note.ts'
import { verifyConsistency } from './tree.ts'

interface Vectors {
  readonly origin: string
  readonly now: number
  readonly vkeys: readonly string[]
  readonly root: string
  readonly cases: readonly {
    readonly name: string
    readonly note: string
    readonly size: number
    readonly signed_by: readonly string[]
  }[]
  readonly refused: readonly { readonly name: string; readonly code: string; readonly note: string }[]
  readonly foreign: {
    readonly notes: readonly { readonly vkey: string; readonly note: string; readonly size?: number }[]
    readonly log: {
      readonly origin: string
      readonly vkey: string
      readonly checkpoints: readonly string[]
      readonly consistency: readonly {
        readonly from: number
        readonly to: number
        readonly proof: readonly string[]
      }[]
    }
  }
}

const vectors = JSON.parse(
  readFileSync(new URL('../../spec/vectors/checkpoint.json', import.meta.url), 'utf8'),
) as Vectors
const { origin, now, root, foreign } = vectors
const verifiers = vectors.vkeys.map(verifierOf)

for (const { name, note, size, signed_by } of vectors.cases) {
  test(`T132: checkpoint vector: ${name}`, () => {
    const checkpoint = openCheckpoint(note, origin, verifiers, now)
    assert.equal(checkpoint.size, size)
    if (size > 0) assert.equal(Buffer.from(checkpoint.root).toString('base64'), root)
    assert.deepEqual(
      checkpoint.signatures.map((each) => each.name),
      signed_by,
    )
    // Whatever stands below the root reaches nobody.
    assert.deepEqual(Object.keys(checkpoint).sort(), ['origin', 'root', 'signatures', 'size'])
    assert.ok(note.startsWith(formatCheckpoint(checkpoint)))
  })
}

for (const { name, code, note } of vectors.refused) {
  test(`T132 T133 T134 T148: checkpoint vector, refused: ${name}`, () => {
    assert.throws(() => openCheckpoint(note, origin, verifiers, now), { name: 'NoteRefusal', code })
  })
}

test('checkpoints of logs that exist are read, and one continues the other', () => {
  for (const { vkey, note, size } of foreign.notes) {
    if (size === undefined) continue
    const { text } = openNote(note, [verifierOf(vkey)])
    assert.equal(parseCheckpoint(text).size, size)
  }
  const { log } = foreign
  const checkpoints = new Map<number, Checkpoint>()
  for (const note of log.checkpoints) {
    const checkpoint = openCheckpoint(note, log.origin, [verifierOf(log.vkey)], now)
    checkpoints.set(checkpoint.size, checkpoint)
  }
  for (const { from, to, proof } of log.consistency) {
    const [older, newer] = [checkpoints.get(from), checkpoints.get(to)] as [Checkpoint, Checkpoint]
    const hashes = proof.map((each) => Buffer.from(each, 'base64'))
    assert.ok(verifyConsistency(from, older.root, to, newer.root, hashes))
    assert.ok(!verifyConsistency(from, newer.root, to, newer.root, hashes))
  }
})

const log = generateKeyPairSync('ed25519')
const cosigners = [generateKeyPairSync('ed25519'), generateKeyPairSync('ml-dsa-44')]
const checkpoint: Checkpoint = { origin: 'witness.test/1', size: 3, root: Buffer.alloc(32, 7) }
const logSigner = ed25519Signer(checkpoint.origin, log.publicKey, log.privateKey)
const jwkOf = ({ publicKey }: typeof log) => importPublicJwk(publicKey.export({ format: 'jwk' })).jwk
const witness = { name: 'witness.test', checkpointKeys: [log, ...cosigners].map(jwkOf) }

test('the keys of a charter verify what a witness signs with them, whichever cosigns', () => {
  for (const { publicKey, privateKey } of cosigners) {
    const cosigner = cosignatureSigner('witness.test', publicKey, privateKey, now)
    const note = signNote(formatCheckpoint(checkpoint), [logSigner, cosigner])
    const opened = openCheckpoint(
      note,
      checkpoint.origin,
      checkpointVerifiers(witness, checkpoint.origin),
      now,
    )
    assert.deepEqual(
      opened.signatures.map(({ signedAt }) => signedAt),
      [undefined, now],
    )
  }
})

test('T128: a cosignature does not stand in for the log, even by the same key', () => {
  const posing = cosignatureSigner('witness.test', log.publicKey, log.privateKey, now)
  const note = signNote(formatCheckpoint(checkpoint), [posing])
  const known = checkpointVerifiers(witness, checkpoint.origin)
  assert.throws(() => openCheckpoint(note, checkpoint.origin, known, now), { code: 'unsigned' })
})

test('an ML-DSA-44 cosignature holds for its name, log, size and root', () => {
  const [, { publicKey, privateKey }] = cosigners as [typeof log, typeof log]
  const cosigner = cosignatureSigner('witness.test', publicKey, privateKey, now)
  const signature = cosigner.sign(formatCheckpoint(checkpoint))
  const [, , verifier] = checkpointVerifiers(
    { ...witness, checkpointKeys: [jwkOf(log), jwkOf({ publicKey, privateKey })] },
    'x',
  )
  assert.ok(verifier?.verify(formatCheckpoint(checkpoint), signature))
  for (const change of [{ origin: 'witness.test/2' }, { size: 4 }, { root: Buffer.alloc(32, 8) }]) {
    assert.ok(!verifier?.verify(formatCheckpoint({ ...checkpoint, ...change }), signature))
  }
  const [elsewhere] = checkpointVerifiers(
    { name: 'else.test', checkpointKeys: [jwkOf({ publicKey, privateKey })] },
    'x',
  )
  assert.ok(!elsewhere?.verify(formatCheckpoint(checkpoint), signature))
})
