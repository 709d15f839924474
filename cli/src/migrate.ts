/**
 * `countersign key migrate`: moves a realm's keys to another keystore while it goes on signing. Both keystores have a signer
 * for a while; the charter, which two people change, names both, then only the new one.
 * @module
 */

import { hash, randomBytes } from 'node:crypto'
import { existsSync, readdirSync, rmSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { type AuthorityError, fetchProposals, sendProposal } from '@countersign/authority/client'
import { openBrokerAdmin, type SignerStatus } from '@countersign/broker/client'
import { isTokenUri } from '@countersign/signer/client'
import { APPROVAL_SECONDS_MAX, approve as signApproval } from '@countersign/validator/approval'
import { attestedBy } from '@countersign/validator/attestation'
import { approveCharter } from '@countersign/validator/charter'
import { importOnce, readPayload, type SignedDocument } from '@countersign/validator/document'
import { isObject, type JsonObject } from '@countersign/validator/json'
import { importPublicJwk, type PublicJwk } from '@countersign/validator/jws'
import { draftApproval } from './draft.ts'
import { readJson, writePrivate } from './files.ts'
import { folderOf, type KeptKeystore, keepKeystores, keystoresOf, leavingOf } from './keystores.ts'
import { type MovingKey, nextStep, type Standing, type Step } from './migration.ts'
import { operate, readAuthor, waitForAcknowledgements } from './operate.ts'
import { type InForce, printAll, readInForce, readPerson } from './proposal.ts'
import type { System } from './ready.ts'
import { showProgress } from './screen.ts'
import { isMade, runSigner } from './signer.ts'
import { readSystem, readyFileIn } from './system.ts'

const WAIT_MILLISECONDS = 500
/** A long wait says now and then that it still waits. */
const REMIND_SECONDS = 60

interface Migration {
  readonly realm: string
  readonly to: KeptKeystore
  readonly data: string
  readonly ready: string | undefined
  readonly operators: readonly string[]
  readonly isEarly: boolean
  readonly isRevoking: boolean
}

export async function migrate(args: readonly string[]): Promise<void> {
  const migration = readMigration(args)
  // What is there decides; a step that is taken changes what is there.
  for (let waitsFor = ''; ; ) {
    const { standing, system } = await look(migration)
    const step = nextStep(standing, migration)
    if (step.step === 'done') return prove(migration, standing)
    if (isWaiting(step)) {
      waitsFor = await wait(step, waitsFor, standing.now)
      continue
    }
    waitsFor = ''
    await showProgress(describe(step), () => take(step, migration, system))
  }
}

type Waiting = Extract<Step, { readonly step: 'await-keys' | 'await-caches' | 'await-expiry' }>

function isWaiting({ step }: Step): boolean {
  return step.startsWith('await-')
}

function readMigration(args: readonly string[]): Migration {
  const { values } = parseArgs({
    args: [...args],
    options: {
      ready: { type: 'string' },
      realm: { type: 'string' },
      to: { type: 'string' },
      'pin-file': { type: 'string' },
      environment: { type: 'string', multiple: true, default: [] },
      operator: { type: 'string', multiple: true, default: [] },
      early: { type: 'boolean', default: false },
      revoke: { type: 'boolean', default: false },
    },
  })
  const { ready, to, 'pin-file': pinFile } = values
  const { authority, keystores } = readSystem(ready)
  const realms = Object.keys(keystores)
  const realm = realms.find((name) => name === values.realm)
  if (realm === undefined) throw new Error(`migrate needs --realm REALM: ${realms.join(' or ')}`)
  if (to === undefined)
    throw new Error('migrate needs --to KEYSTORE: a pkcs11: URI, or the name of a file to be made')
  const data = dirname(authority.trust_anchor)
  return {
    realm,
    to: isTokenUri(to) ? onToken(to, realm, data, pinFile, values.environment) : inFile(to),
    data,
    ready,
    operators: values.operator,
    isEarly: values.early,
    isRevoking: values.revoke,
  }
}

/** In a folder whose name follows from the token, so that a migration taken up again finds it. */
function onToken(
  keystore: string,
  realm: string,
  data: string,
  pinFile: string | undefined,
  environment: readonly string[],
): KeptKeystore {
  if (pinFile === undefined) throw new Error('--pin-file FILE: the PIN of the token, in a file of mode 0600')
  const folder = join(data, 'signers', `${realm}-${hash('sha256', keystore, 'hex').slice(0, 8)}`)
  const variables = environment.map((each) => {
    const [name = '', ...value] = each.split('=')
    if (name === '' || value.length === 0) throw new Error('--environment takes NAME=VALUE')
    return [name, value.join('=')] as const
  })
  return {
    keystore,
    passphrase_file: resolve(pinFile),
    folder,
    ...(variables.length > 0 && { environment: Object.fromEntries(variables) }),
  }
}

/** In a folder of its own, with a passphrase that nobody chose. */
function inFile(to: string): KeptKeystore {
  const keystore = resolve(to)
  return { keystore, passphrase_file: join(dirname(keystore), 'passphrase') }
}

async function look(migration: Migration): Promise<{ standing: Standing; system: System }> {
  const { realm, to, data, ready } = migration
  const system = readSystem(ready)
  const names = keystoresOf(data, realm).map(({ keystore }) => keystore)
  const [{ charter, manifest }, running, target] = await Promise.all([
    readInForce(ready),
    readRunning(migration),
    readIdentity(to, realm),
  ])
  const standing = {
    target: target && importPublicJwk(target).kid,
    isConfigured: names.includes(to.keystore),
    isAloneConfigured: names.every((name) => name === to.keystore),
    running: running.map(({ identity }) => identity),
    chartered: (charter.realms.get(realm)?.signers ?? []).map((jwk) => importOnce(jwk).kid),
    keys: [...manifest.keys.values()].filter((key) => key.realm === realm).map(movingKey),
    leaving: leavingOf(data, realm).length,
    now: Date.now() / 1000,
  }
  return { standing, system }
}

function movingKey(
  key: InForce['manifest']['keys'] extends ReadonlyMap<string, infer Key> ? Key : never,
): MovingKey {
  const { kid, state, attestation, issuer, tokenTypes, notBefore, verifyUntil } = key
  const purpose = tokenTypes.every((type) => type === 'set') ? 'set' : 'token'
  return {
    kid,
    state,
    signer: attestedBy(attestation) ?? '',
    slot: `${issuer} ${purpose}`,
    notBefore,
    verifyUntil,
  }
}

async function readRunning({ data, realm }: Migration): Promise<readonly SignerStatus[]> {
  const broker = openBrokerAdmin(join(data, 'run', 'broker-admin.sock'))
  try {
    const { signers } = await broker.status()
    return signers.filter((signer) => signer.realm === realm)
  } finally {
    broker.close()
  }
}

const identities = new Map<string, PublicJwk>()

/** The identity key of a keystore that is whole; undefined where there is none yet. */
async function readIdentity(kept: KeptKeystore, realm: string): Promise<PublicJwk | undefined> {
  const known = identities.get(kept.keystore)
  if (known !== undefined) return known
  if (!isMade(kept)) return undefined
  const { jwk } = (await runSigner('show', kept, realm)) as { readonly jwk: PublicJwk }
  identities.set(kept.keystore, jwk)
  return jwk
}

function describe(step: Step): string {
  switch (step.step) {
    case 'make':
      return 'made the new keystore'
    case 'configure':
      return 'started its signer'
    case 'name':
      return 'the charter names it, and it makes the new keys'
    case 'activate':
      return 'a new key signs, before its time'
    case 'hand-over':
      return 'a new key signs'
    case 'retire':
      return 'an old key that stood by is retired'
    case 'revoke':
      return 'an old key is revoked'
    case 'unname':
      return 'the charter names the new keystore alone'
    case 'unconfigure':
      return 'the old signer has finished, and has ended'
    case 'destroy':
      return 'the old keys are destroyed'
    case 'await-keys':
      return 'its signer makes keys'
    case 'await-caches':
      return 'every cache learns of the new keys (--early, with two people, does not wait)'
    case 'await-expiry':
      return 'the last tokens of the old keys expire (--revoke ends them at once)'
    case 'done':
      return 'nothing is left to do'
    default:
      return step satisfies never
  }
}

/** Says once what is waited for and until when, and gives back that it did. */
async function wait(step: Step, before: string, now: number): Promise<string> {
  const until = 'until' in step ? (step as Waiting & { readonly until: number }).until : undefined
  const time = until === undefined ? '' : `, until ${new Date(until * 1000).toISOString().slice(0, 19)}Z`
  const minute = Math.floor(now / REMIND_SECONDS)
  const [said, at] = before.split('\n')
  const what = `${describe(step)}${time}`
  const isNew = said !== what
  if (isNew || Number(at) !== minute) printAll([`  … waiting: ${what}`])
  await delay(WAIT_MILLISECONDS)
  return `${what}\n${isNew ? minute : Math.max(minute, Number(at))}`
}

async function take(step: Step, migration: Migration, { authority }: System): Promise<void> {
  const { realm, to, data, operators, ready } = migration
  const [operator] = operators
  const reason = `${realm} moves to another keystore`
  switch (step.step) {
    case 'make':
      return make(to, realm)
    case 'configure':
      return configure(migration, [...keystoresOf(data, realm).filter((each) => !isSame(each, to)), to])
    case 'name':
      return changeSigners(migration, authority, (signers, target) => [
        ...signers.filter(({ kid }) => kid !== target.kid),
        target,
      ])
    case 'unname':
      return changeSigners(migration, authority, (_, target) => [target])
    case 'activate':
      return activate(step.kid, migration, authority, reason)
    case 'hand-over':
      return handOver(step.kid, authority, reason, operator)
    case 'retire':
    case 'revoke':
      return void (await operate(authority, { op: step.step, kid: step.kid, reason }, operator))
    case 'unconfigure':
      return configure(migration, [to])
    case 'destroy':
      return destroy(migration)
    default:
      throw new Error(`${step.step} is not taken, with ${ready ?? 'the running system'}`)
  }
}

async function make(to: KeptKeystore, realm: string): Promise<void> {
  if (!isTokenUri(to.keystore)) {
    const folder = dirname(to.keystore)
    const others = existsSync(folder) ? readdirSync(folder).filter((name) => !ours.includes(name)) : []
    if (others.length > 0)
      throw new Error(`${folder} holds other files (${others[0]}): a keystore has a folder of its own`)
    if (!existsSync(to.passphrase_file))
      writePrivate(to.passphrase_file, randomBytes(32).toString('base64url'))
  }
  await runSigner('init', to, realm)
}

/** What an init that was cut short leaves. */
const ours = ['passphrase', 'counters', 'trust-seen.json']

/** Writes down which keystores the realm has, and has the broker read it anew. What leaves is still to be destroyed. */
async function configure({ realm, data, ready }: Migration, wanted: readonly KeptKeystore[]): Promise<void> {
  const isGone = (each: KeptKeystore): boolean => !wanted.some((other) => isSame(each, other))
  const leaving = [...leavingOf(data, realm), ...keystoresOf(data, realm)].filter(isGone)
  keepKeystores(data, realm, wanted, leaving)
  const file = join(data, 'config', 'broker.json')
  const config = readJson<{ readonly realms: Readonly<Record<string, object>> }>(file)
  const changed = { ...config.realms[realm], keystores: wanted }
  writePrivate(file, { ...config, realms: { ...config.realms, [realm]: changed } })
  const broker = openBrokerAdmin(join(data, 'run', 'broker-admin.sock'))
  try {
    await broker.reload()
  } finally {
    broker.close()
  }
  const newest = wanted.at(-1)?.keystore
  for (const readyFile of new Set([readyFileIn(data), ...(ready === undefined ? [] : [ready])])) {
    const system = readJson<System>(readyFile)
    writePrivate(readyFile, { ...system, keystores: { ...system.keystores, [realm]: newest } })
  }
}

function isSame(one: KeptKeystore, other: KeptKeystore): boolean {
  return one.keystore === other.keystore
}

interface Signer {
  readonly kid: string
  readonly jwk: PublicJwk
}

/** Proposes the next charter, approved by as many of the given operators as are given, and waits for the others. */
async function changeSigners(
  { realm, to, ready, operators }: Migration,
  authority: System['authority'],
  change: (signers: readonly Signer[], target: Signer) => readonly Signer[],
): Promise<void> {
  const inForce = await readInForce(ready)
  const { charter, documents } = inForce
  const own = charter.realms.get(realm)
  const jwk = await readIdentity(to, realm)
  if (own === undefined || jwk === undefined) throw new Error(`the charter has no realm ${realm}`)
  const signers = own.signers.map((each) => ({ kid: importOnce(each).kid, jwk: each }))
  const wanted = change(signers, { kid: importPublicJwk(jwk).kid, jwk }).map((each) => each.jwk)
  const before = readPayload((documents.at(-1) as SignedDocument).payload)
  const before_realms = before['realms'] as JsonObject
  const next = {
    ...before,
    version: charter.version + 1,
    iat: Math.max(Math.floor(Date.now() / 1000), charter.issuedAt),
    realms: { ...before_realms, [realm]: { ...(before_realms[realm] as JsonObject), signers: wanted } },
  }
  const isWaiting = await waitsAlready(authority, realm, wanted)
  if (!isWaiting) {
    const people = authorsOf(authority, inForce, operators)
    const approved = people.reduce<SignedDocument | undefined>(
      (document, { privateKey }) => approveCharter(document ?? next, privateKey),
      undefined,
    ) as SignedDocument
    await propose(authority, approved)
  }
  await carriedOut(async () => (await readInForce(ready)).charter.version > charter.version, authority)
}

/** Unless the key's turn has come by itself in the meantime, or the authority's clock says that it has not come yet. */
async function handOver(
  kid: string,
  authority: System['authority'],
  reason: string,
  operator: string | undefined,
): Promise<void> {
  try {
    await operate(authority, { op: 'rotate', kid, reason }, operator)
  } catch (error) {
    const { code } = error as Partial<AuthorityError>
    if (code !== 'no_next_key' && code !== 'activation_too_early') throw error
  }
}

async function activate(
  kid: string,
  { ready, operators }: Migration,
  authority: System['authority'],
  reason: string,
): Promise<void> {
  const inForce = await readInForce(ready)
  const people = authorsOf(authority, inForce, operators)
  const payload = draftApproval(
    { op: 'activate', kid },
    { reason, proposer: people[0]?.id ?? '', charterVersion: inForce.charter.version },
  )
  const approved = people.reduce<object>(
    (document, { privateKey }) => signApproval(document, privateKey),
    payload,
  ) as SignedDocument
  const hasBegun = async (): Promise<boolean> =>
    (await readInForce(ready)).manifest.keys.get(kid)?.state !== 'published'
  try {
    await propose(authority, approved)
  } catch (error) {
    // Its turn may have come by itself in the meantime.
    if (await hasBegun()) return
    throw error
  }
  await carriedOut(hasBegun, authority)
}

/** Those that were named, or the first who may: who else is needed is told by the proposal. */
function authorsOf(authority: System['authority'], inForce: InForce, operators: readonly string[]) {
  if (operators.length === 0) return [readPerson(authority, inForce, undefined)]
  return operators.map((id) => readAuthor(authority, id))
}

async function propose(authority: System['authority'], document: SignedDocument): Promise<void> {
  const { id, version, approved_by, needed } = await sendProposal(authority.url, document)
  if (version !== undefined) return void (await waitForAcknowledgements(authority.url, version))
  printAll([
    `  … proposal ${id}, approved by ${approved_by.join(', ')}, needs ${needed - approved_by.length} more: countersign approve ${id}`,
  ])
}

/** Whether a migration that was interrupted has proposed just this, and somebody may still approve it. */
async function waitsAlready(
  authority: System['authority'],
  realm: string,
  signers: readonly PublicJwk[],
): Promise<boolean> {
  const proposals = await fetchProposals(authority.url)
  const wanted = signers.map((jwk) => importPublicJwk(jwk).kid).join()
  return proposals.some(({ kind, state, payload }) => {
    const proposed = payload['realms']
    const own = isObject(proposed) ? proposed[realm] : undefined
    if (kind !== 'charter' || state !== 'open' || !isObject(own) || !Array.isArray(own['signers']))
      return false
    return own['signers'].map((jwk) => importPublicJwk(jwk as object).kid).join() === wanted
  })
}

/** Waits for the approvals of others, as long as proposals last. */
async function carriedOut(isDone: () => Promise<boolean>, authority: System['authority']): Promise<void> {
  const endsAt = Date.now() + APPROVAL_SECONDS_MAX * 1000
  while (!(await isDone())) {
    if (Date.now() > endsAt)
      throw new Error(`nobody else approved in time at ${authority.url}; the same command proposes it again`)
    await delay(WAIT_MILLISECONDS)
  }
}

async function destroy({ realm, data }: Migration): Promise<void> {
  for (const each of leavingOf(data, realm)) {
    // Destroyed before, by a migration that was interrupted right after.
    if (isMade(each)) {
      const { left } = (await runSigner('destroy', each, realm)) as { readonly left: number }
      if (left > 0) throw new Error(`${left} keys are left in ${each.keystore}`)
    }
    if (folderOf(each).startsWith(join(data, 'signers')))
      rmSync(folderOf(each), { recursive: true, force: true })
  }
  keepKeystores(data, realm, keystoresOf(data, realm), [])
}

/** Shows what is there now: who signs, that the charter names nobody else, and that no old key is left to sign with. */
async function prove(migration: Migration, { keys, target }: Standing): Promise<void> {
  const [signer] = await readRunning(migration)
  const old = keys.filter((key) => key.signer !== target)
  const isEnded = old.every(({ state }) => state === 'revoked')
  printAll([
    `${migration.realm} signs in ${migration.to.keystore}`,
    `  protection ${signer?.protection}, signer ${signer?.identity}, keys ${signer?.keys?.length ?? 0}`,
    `  the charter names this signer alone, and no other runs`,
    `  of ${old.length} old keys ${isEnded ? 'each is revoked' : 'some still count'}, and none is left to sign with`,
  ])
}
