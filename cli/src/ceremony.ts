/**
 * The first start of a data folder: each process makes its own keys and tells only the public ones, and the operators
 * approve a charter that names them. Afterwards nobody but the operators can change what was agreed here.
 * @module
 */

import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { approveCharter, type CharterDocument } from '@countersign/validator/charter'
import { readDocument, readPayload } from '@countersign/validator/document'
import type { JsonObject } from '@countersign/validator/json'
import type { PublicJwk } from '@countersign/validator/jws'
import { readJson, writePrivate, writePublic } from './files.ts'
import { folderOf, type KeptKeystore, keystoresOf } from './keystores.ts'
import type { Layout } from './layout.ts'
import { portsFileIn } from './ports.ts'
import { initService } from './process.ts'
import { type Rules, rulesOf } from './rules.ts'
import { isMade, runSigner } from './signer.ts'
import { secret, type World } from './world.ts'

const OPERATORS = ['olga', 'omar', 'opal'] as const
const THRESHOLD = 2

const ANCHOR = 'trust-anchor.json'
const CHARTER = join('charters', '1.json')

interface Keys {
  readonly witness: {
    readonly name: string
    readonly receipt_key: object
    readonly checkpoint_keys: readonly object[]
    readonly vkey: string
  }
  readonly authority: { readonly jwk: object }
  readonly sentinel: { readonly jwk: object }
  readonly signers: Readonly<Record<string, { readonly jwk: object }>>
}

/** What the operators approved in the ceremony. */
export function firstCharter(data: string): JsonObject {
  return readPayload(readDocument(readJson(join(data, CHARTER))).payload)
}

/**
 * The identity key of the signer of a realm, which is made where there is none yet: for a realm that comes in later. In a draft
 * that is moved into its place when it is whole.
 */
export async function prepareSigner(data: string, cache: string, realm: string): Promise<PublicJwk> {
  const keystore = keystoresOf(data, realm).at(-1) as KeptKeystore
  if (isMade(keystore)) return ((await runSigner('show', keystore, realm)) as { readonly jwk: PublicJwk }).jwk
  const draft = join(data, 'next-realm')
  rmSync(draft, { recursive: true, force: true })
  const { jwk } = (await initSigner(draft, cache, realm)) as { readonly jwk: PublicJwk }
  const place = folderOf(keystore)
  mkdirSync(dirname(place), { recursive: true, mode: 0o700 })
  renameSync(join(draft, 'signers', realm), place)
  rmSync(draft, { recursive: true })
  return jwk
}

/** Where the operators' key files lie; `id` is who signs with it. */
export function operatorKeyFiles(data: string): { id: string; key_file: string }[] {
  return OPERATORS.map((id) => ({ id, key_file: join(data, 'operators', `${id}.json`) }))
}

/** Makes all keys and the first charter, or finds them made. */
export async function holdCeremony({ data, issuers, ports }: Layout, world: World): Promise<void> {
  const rules = rulesOf(issuers, world)
  if (existsSync(join(data, ANCHOR))) return
  // In a folder of its own, moved into its place when it is whole. One that was cut short was never in use.
  const draft = join(data, 'first-start')
  rmSync(draft, { recursive: true, force: true })
  writePublic(portsFileIn(draft), ports)
  await prepare(draft, join(data, 'cache'), rules)
  for (const name of readdirSync(draft).sort(lastOfAll)) move(draft, data, name)
  rmSync(draft, { recursive: true })
}

async function prepare(draft: string, cache: string, rules: Rules): Promise<void> {
  const operators = operatorKeyFiles(draft).map(({ id, key_file }) => {
    const { privateKey, publicKey } = generateKeyPairSync('ed25519')
    writePrivate(key_file, privateKey.export({ format: 'jwk' }))
    return { id, jwk: publicKey.export({ format: 'jwk' }), privateKey }
  })
  const people = operators.map(({ id, jwk }) => ({ id, jwk }))
  writePrivate(join(draft, 'secrets', 'enrolment-token'), secret())
  const { witness, authority, sentinel, signers } = await makeKeys(draft, cache, Object.keys(rules))
  const { name, receipt_key, checkpoint_keys } = witness
  const charter = {
    version: 1,
    iat: Math.floor(Date.now() / 1000),
    threshold: THRESHOLD,
    operators: people,
    manifest_keys: [authority.jwk],
    block_keys: [sentinel.jwk],
    witnesses: [{ name, receipt_key, checkpoint_keys }],
    realms: Object.fromEntries(
      Object.entries(rules).map(([realm, rule]) => [realm, { ...rule, signers: [signers[realm]?.jwk] }]),
    ),
  }
  const approved = operators
    .slice(0, THRESHOLD)
    .reduce<CharterDocument | undefined>(
      (document, { privateKey }) => approveCharter(document ?? charter, privateKey),
      undefined,
    )
  writePublic(join(draft, 'witness.json'), witness)
  writePublic(join(draft, CHARTER), approved)
  writePublic(join(draft, ANCHOR), { operators: people, threshold: THRESHOLD })
}

async function makeKeys(draft: string, cache: string, names: readonly string[]): Promise<Keys> {
  const init = (name: 'witness' | 'authority' | 'sentinel', ...args: string[]): Promise<unknown> =>
    initService(name, cache, ['--data', join(draft, name), ...args])
  const [witness, authority, sentinel, ...signers] = await Promise.all([
    init('witness', '--name', 'witness.example'),
    init('authority'),
    init('sentinel'),
    ...names.map((realm) => initSigner(draft, cache, realm)),
  ])
  const byRealm = Object.fromEntries(names.map((realm, at) => [realm, signers[at]]))
  return { witness, authority, sentinel, signers: byRealm } as Keys
}

function initSigner(draft: string, cache: string, realm: string): Promise<unknown> {
  const folder = join(draft, 'signers', realm)
  const passphrase = join(folder, 'passphrase')
  writePrivate(passphrase, randomBytes(32).toString('base64url'))
  const keystore = join(folder, 'keystore.age')
  return initService('signer', cache, [
    '--keystore',
    keystore,
    '--passphrase-file',
    passphrase,
    '--realm',
    realm,
  ])
}

/** The trust anchor comes last: once it is there, everything is. */
function lastOfAll(one: string, other: string): number {
  return Number(one === ANCHOR) - Number(other === ANCHOR)
}

function move(draft: string, data: string, name: string): void {
  try {
    renameSync(join(draft, name), join(data, name))
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw new Error(message)
    throw new Error(
      `${data} holds ${name} but no ${ANCHOR}: a part of another system, which is not overwritten`,
    )
  }
}
