/**
 * The first start of a data folder: each process makes its own keys and tells only the public ones, and the operators
 * approve a charter that names them. Afterwards nobody but the operators can change what was agreed here.
 * @module
 */

import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { approveCharter, type CharterDocument } from '@countersign/validator/charter'
import { writePrivate, writePublic } from './files.ts'
import { initService } from './process.ts'
import { secret, tenants } from './world.ts'

const OPERATORS = ['olga', 'omar', 'opal'] as const
const THRESHOLD = 2
const ROTATION_SECONDS = 24 * 3600
const LIFETIME_SECONDS_MAX = 3600

interface WitnessKeys {
  readonly name: string
  readonly receipt_key: object
  readonly checkpoint_keys: readonly object[]
  readonly vkey: string
}

/** Where the operators' key files lie; `id` is who signs with it. */
export function operatorKeyFiles(data: string): { id: string; key_file: string }[] {
  return OPERATORS.map((id) => ({ id, key_file: join(data, 'operators', `${id}.json`) }))
}

/** Makes all keys and the first charter; `issuers` gives each realm's issuer template. Does nothing the second time. */
export async function holdCeremony(data: string, issuers: Readonly<Record<string, string>>): Promise<void> {
  const anchorFile = join(data, 'trust-anchor.json')
  // Written last: a ceremony that was cut short leaves no anchor, and its folder is refused by each `init`.
  if (existsSync(anchorFile)) return
  const operators = operatorKeyFiles(data).map(({ id, key_file }) => {
    const { privateKey, publicKey } = generateKeyPairSync('ed25519')
    writePrivate(key_file, privateKey.export({ format: 'jwk' }))
    return { id, jwk: publicKey.export({ format: 'jwk' }), privateKey }
  })
  writePrivate(join(data, 'secrets', 'enrolment-token'), secret())
  const [witness, authority, sentinel, ...signers] = await Promise.all([
    initService('witness', [
      '--data',
      join(data, 'witness'),
      '--name',
      'witness.example',
    ]) as Promise<WitnessKeys>,
    initService('authority', ['--data', join(data, 'authority')]) as Promise<{ jwk: object }>,
    initService('sentinel', ['--data', join(data, 'sentinel')]) as Promise<{ jwk: object }>,
    ...Object.keys(issuers).map((realm) => initSigner(data, realm)),
  ])
  writePublic(join(data, 'witness.json'), witness)
  const people = operators.map(({ id, jwk }) => ({ id, jwk }))
  const charter = {
    version: 1,
    iat: Math.floor(Date.now() / 1000),
    threshold: THRESHOLD,
    operators: people,
    manifest_keys: [authority.jwk],
    block_keys: [sentinel.jwk],
    witnesses: [
      { name: witness.name, receipt_key: witness.receipt_key, checkpoint_keys: witness.checkpoint_keys },
    ],
    realms: Object.fromEntries(
      Object.entries(issuers).map(([realm, issuer], index) => [
        realm,
        {
          issuers: [issuer],
          tenants: (tenants[realm] ?? []).map(({ id }) => id),
          token_types: ['access', 'id', 'logout'],
          algs: ['ES256'],
          max_ttl: LIFETIME_SECONDS_MAX,
          signer: signers[index]?.jwk,
          rotation_seconds: ROTATION_SECONDS,
          key_age_max: 14 * ROTATION_SECONDS,
        },
      ]),
    ),
  }
  const approved = operators
    .slice(0, THRESHOLD)
    .reduce<CharterDocument | undefined>(
      (document, { privateKey }) => approveCharter(document ?? charter, privateKey),
      undefined,
    )
  writePublic(join(data, 'charters', '1.json'), approved)
  writePublic(anchorFile, { operators: people, threshold: THRESHOLD })
}

async function initSigner(data: string, realm: string): Promise<{ jwk: object }> {
  const folder = join(data, 'signers', realm)
  const passphraseFile = join(folder, 'passphrase')
  writePrivate(passphraseFile, randomBytes(32).toString('base64url'))
  const args = [
    '--keystore',
    join(folder, 'keystore.age'),
    '--passphrase-file',
    passphraseFile,
    '--realm',
    realm,
  ]
  return (await initService('signer', args)) as { jwk: object }
}
