/**
 * Goal: a secret in a file is for its process alone, and in no error. Method: files that others may read, and files with something
 * wrong beside the secret.
 */

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { readPrivateKey } from './private-file.ts'
import { createTestKey } from './testing.ts'

const folder = mkdtempSync(join(tmpdir(), 'countersign-private-'))
after(() => rmSync(folder, { recursive: true }))

const jwk = createTestKey('EdDSA').privateKey.export({ format: 'jwk' })

function write(name: string, content: string, mode = 0o600): string {
  const file = join(folder, name)
  writeFileSync(file, content, { mode })
  return file
}

test('T237: a key is read, unless others may read it too', () => {
  assert.equal(readPrivateKey(write('key', ` ${JSON.stringify(jwk)}\n`)).asymmetricKeyType, 'ed25519')
  assert.throws(() => readPrivateKey(write('open', JSON.stringify(jwk), 0o640)), /open can be read by others/)
})

test('T237: what is wrong with a key is said of its file, without a character of it', () => {
  const secret = String(jwk.d)
  const wrong = [
    secret,
    `{"d": ${secret}}`,
    `{"d": "${secret}}`,
    JSON.stringify({ ...jwk, d: [secret] }),
    '{}',
    '7',
    ' ',
  ]
  for (const [at, content] of wrong.entries()) {
    const file = write(`wrong-${at}`, content)
    assert.throws(
      () => readPrivateKey(file),
      ({ message }: Error) => message.startsWith(`${file} `) && !message.includes(secret.slice(0, 4)),
      content,
    )
  }
})
