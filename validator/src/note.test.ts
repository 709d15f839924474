/**
 * Goal: a note counts only when a known key signed exactly its text. Method: notes that others published; notes bent at
 * every character; floods of lines.
 * @module
 */

import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { readFileSync } from 'node:fs'
import test from 'node:test'
import { verifierOf } from './checkpoint.ts'
import {
  ed25519Signer,
  ed25519Verifier,
  formatVkey,
  NoteRefusal,
  openNote,
  parseNote,
  parseVkey,
  signatureTypes,
  signNote,
} from './note.ts'

interface Vectors {
  readonly vkeys: readonly string[]
  readonly refused_vkeys: readonly { readonly name: string; readonly vkey: string }[]
  readonly foreign: {
    readonly notes: readonly { readonly name: string; readonly vkey: string; readonly note: string }[]
  }
}

const vectors = JSON.parse(
  readFileSync(new URL('../../spec/vectors/checkpoint.json', import.meta.url), 'utf8'),
) as Vectors

const { publicKey, privateKey } = generateKeyPairSync('ed25519')
const signer = ed25519Signer('log.test', publicKey, privateKey)
const verifier = ed25519Verifier('log.test', publicKey)
const text = 'a text\n\nof three lines\n'
const note = signNote(text, [signer])

for (const { name, vkey, note: published } of vectors.foreign.notes) {
  test(`a foreign note opens: ${name}`, () => {
    const { text: opened, verified } = openNote(published, [verifierOf(vkey)])
    assert.ok(published.startsWith(`${opened}\n— `))
    assert.deepEqual(
      verified.map((line) => line.name),
      [vkey.split('+')[0]],
    )
  })
}

test('verifier keys are read as they are written', () => {
  const { foreign, vkeys } = vectors
  for (const vkey of [...vkeys, ...foreign.notes.map((each) => each.vkey)]) {
    assert.equal(formatVkey(parseVkey(vkey)), vkey)
  }
})

for (const { name, vkey } of vectors.refused_vkeys) {
  test(`a verifier key is refused: ${name}`, () => {
    assert.throws(() => parseVkey(vkey), { name: 'NoteRefusal', code: 'malformed' })
  })
}

test('a note gives back its text, empty lines and all, as bytes too', () => {
  assert.equal(openNote(note, [verifier]).text, text)
  assert.equal(openNote(Buffer.from(note), [verifier]).text, text)
})

test('no character of a note can be changed', () => {
  for (let at = 0; at < note.length; at++) {
    for (const other of ['A', '\n', ' ', '+', '\u00a0']) {
      if (note[at] === other) continue
      const bent = note.slice(0, at) + other + note.slice(at + 1)
      assert.throws(() => openNote(bent, [verifier]), NoteRefusal, JSON.stringify(bent))
    }
  }
})

test('T148: carriage returns, control characters and bytes that are no UTF-8 are refused', () => {
  for (const bent of [
    note.replaceAll('\n', '\r\n'),
    note.replace('a text', 'a\ttext'),
    note.replace('a text', 'a\u0000text'),
    `\ufeff${note}`,
  ]) {
    assert.throws(() => openNote(bent, [verifier]), NoteRefusal)
    assert.throws(() => openNote(Buffer.from(bent), [verifier]), NoteRefusal)
  }
  const bytes = Buffer.from(note)
  bytes[2] = 0xff
  assert.throws(() => openNote(bytes, [verifier]), { code: 'malformed' })
})

test('T134: unknown keys are passed over; a known key that is wrong or malformed fails the whole note', () => {
  const unknown = `— else.test ${Buffer.alloc(68, 9).toString('base64')}\n`
  assert.equal(openNote(note + unknown, [verifier]).verified.length, 1)
  const id = Buffer.alloc(4)
  id.writeUInt32BE(signer.keyId)
  for (const signature of [Buffer.alloc(64), Buffer.alloc(63), Buffer.alloc(1), Buffer.alloc(2420)]) {
    const line = `— log.test ${Buffer.concat([id, signature]).toString('base64')}\n`
    assert.throws(() => openNote(note + line, [verifier]), { code: 'signature_invalid' })
  }
  assert.throws(() => openNote(`${text}\n${unknown}`, [verifier]), { code: 'unsigned' })
  assert.throws(() => openNote(note, []), { code: 'unsigned' })
})

test('T134: a note with 100,000 signature lines is refused before any is verified', () => {
  const [, line = ''] = note.split('\n\n').slice(-2)
  let verifyCount = 0
  const counting = { ...verifier, verify: () => ++verifyCount > 0 }
  assert.throws(() => openNote(`${text}\n${line.repeat(100_000)}`, [counting]), { code: 'malformed' })
  assert.equal(verifyCount, 0)
  assert.equal(openNote(`${text}\n${line.repeat(16)}`, [counting]).verified.length, 1)
})

test('T129: one key that signs twice is one signer', () => {
  assert.equal(openNote(signNote(text, [signer, signer]), [verifier]).verified.length, 1)
})

test('a key of one type does not verify as another, nor under another name', () => {
  const types = [...parseNote(note).lines].map(({ keyId }) => keyId)
  assert.deepEqual(types, [verifier.keyId])
  const cosigner = verifierOf(
    formatVkey({ name: 'log.test', type: signatureTypes.cosignatureEd25519, publicKey }),
  )
  assert.throws(() => openNote(note, [cosigner]), { code: 'unsigned' })
  assert.throws(() => openNote(note, [ed25519Verifier('else.test', publicKey)]), { code: 'unsigned' })
})
