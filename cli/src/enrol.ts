/**
 * `countersign validator enrol`: what a service of one's own needs to decide about tokens, in a folder: the key that it will
 * be known by, and the trust anchor. The authority waits for its acknowledgements from then on.
 * @module
 */

import { generateKeyPairSync } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { isDeepStrictEqual, parseArgs } from 'node:util'
import { enrol } from '@countersign/authority/client'
import { keepPrivate, readJson, writePublic } from './files.ts'
import { readSystem } from './system.ts'

export async function enrolValidator(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: { ready: { type: 'string' }, name: { type: 'string' }, folder: { type: 'string' } },
  })
  const { name } = values
  if (name === undefined) throw new Error('enrol needs --name NAME')
  const folder = values.folder ?? name
  const { authority, sentinel } = readSystem(values.ready)
  const anchor = readJson(authority.trust_anchor)
  const anchorFile = join(folder, 'trust-anchor.json')
  if (existsSync(anchorFile) && !isDeepStrictEqual(readJson(anchorFile), anchor))
    throw new Error(`${anchorFile} is that of another system: name a --folder of its own`)
  // Enrolled twice it stays who it was: another key under the same name would be somebody else.
  const key = keepPrivate(join(folder, 'enrolment.json'), () =>
    generateKeyPairSync('ed25519').privateKey.export({ format: 'jwk' }),
  )
  writePublic(anchorFile, anchor)
  const token = readFileSync(authority.enrolment_token, 'utf8').trim()
  const { kty = '', crv = '', x = '' } = key
  await enrol(authority.url, token, name, { kty, crv, x })
  process.stdout.write(
    `${name} is enrolled; its key and the trust anchor are in ${folder}/\n` +
      `authority ${authority.url}\nsentinel  ${sentinel.url}\n`,
  )
}
