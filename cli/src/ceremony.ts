/**
 * The first start of a data folder: each process makes its own keys and tells only the public ones, and the operators
 * approve a charter that names them. Afterwards nobody but the operators can change what was agreed here.
 * @module
 */

import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { existsSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { approveCharter, type CharterDocument } from '@countersign/validator/charter'
import { readDocument, readPayload } from '@countersign/validator/document'
import { readJson, writePrivate, writePublic } from './files.ts'
import type { Layout } from './layout.ts'
import { portsFileIn } from './ports.ts'
import { initService } from './process.ts'
import { type Realm, secret, type World } from './world.ts'

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

/** Where the operators' key files lie; `id` is who signs with it. */
export function operatorKeyFiles(data: string): { id: string; key_file: string }[] {
  return OPERATORS.map((id) => ({ id, key_file: join(data, 'operators', `${id}.json`) }))
}

/**
 * Makes all keys and the first charter, or finds them made. Throws when the folder was made for another world than this
 * one, since a charter changes by approval alone.
 */
export async function holdCeremony({ data, issuers, ports }: Layout, world: World): Promise<void> {
  const rules = rulesOf(issuers, world)
  if (existsSync(join(data, ANCHOR))) return compareRules(data, rules)
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

/** What the charter says of each realm, but for its signers. */
function rulesOf(issuers: Layout['issuers'], { terms, tenants, elsewhere }: World): Rules {
  const rulesFor = (realm: Realm) => ({
    issuers: [issuers[realm]],
    tenants: tenants[realm].map(({ id }) => id),
    token_types: ['access', 'id', 'logout', 'set'],
    // Receivers of security events verify RS256; all else is signed with the first.
    algs: ['ES256', 'RS256'],
    ...terms,
  })
  const rulesElsewhere = Object.entries(elsewhere).map(([realm, { issuer, tenants, algorithm }]) => {
    const token_types = ['access', 'id', 'logout']
    return [realm, { issuers: [issuer], tenants, token_types, algs: [algorithm], ...terms }] as const
  })
  return {
    consumer: rulesFor('consumer'),
    enterprise: rulesFor('enterprise'),
    ...Object.fromEntries(rulesElsewhere),
  }
}

type Rules = Readonly<Record<string, Readonly<Record<string, unknown>>>>

function compareRules(data: string, rules: Rules): void {
  const { payload } = readDocument(readJson(join(data, CHARTER)))
  const approved = readPayload(payload)['realms'] as unknown as Rules
  for (const [realm, rule] of Object.entries(rules)) {
    for (const [name, wanted] of Object.entries(rule)) {
      const found = approved[realm]?.[name]
      if (JSON.stringify(found) === JSON.stringify(wanted)) continue
      throw new Error(
        `${data} was made with ${name} ${JSON.stringify(found)} for ${realm}, not ${JSON.stringify(wanted)}: ` +
          'its charter changes by approval, not by configuration; another --data starts anew',
      )
    }
  }
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
