/**
 * What somebody is asked to approve, in words and values. Everything here is computed from the payload that is signed
 * and from what is in force, which whoever approves has verified: so the authority that shows a proposal cannot make
 * it look like another. Nothing is left out: each member that differs has a line, whether it is known here or not.
 * Pure.
 * @module
 */

import { parseCharter } from '@countersign/validator/charter'
import { isObject, type JsonObject, type JsonValue } from '@countersign/validator/json'
import { importPublicJwk } from '@countersign/validator/jws'
import type { Manifest, ManifestKey } from '@countersign/validator/manifest'
import { fitToCharter } from './fit.ts'
import { slotsOf } from './lifecycle.ts'

/** What is in force while somebody decides. */
export interface InForce {
  /** Payload of the newest charter. */
  readonly charter: JsonObject
  readonly manifest: Pick<Manifest, 'keys'>
}

export function describeProposal(
  kind: 'charter' | 'approval',
  payload: JsonObject,
  inForce: InForce,
): readonly string[] {
  return kind === 'charter' ? describeCharter(payload, inForce) : describeApproval(payload, inForce)
}

function describeCharter(payload: JsonObject, { charter: base, manifest }: InForce): readonly string[] {
  const { version, iat, ...next } = payload
  const { version: versionBefore, iat: _, ...before } = base
  return [
    `charter ${show(version)} follows charter ${show(versionBefore)}; written ${time(iat)}`,
    ...differences(next, before, []),
    ...describeEnds(payload, manifest),
  ]
}

/** What ends with the keys that the new charter no longer allows. */
function describeEnds(payload: JsonObject, manifest: InForce['manifest']): readonly string[] {
  const charter = { ...parseCharter(payload), sha256: '' }
  const after = fitToCharter(manifest, charter, charter.issuedAt)
  const keys = [...manifest.keys.values()].flatMap((key) => {
    const fitted = after.keys.get(key.kid) ?? key
    if (fitted === key) return []
    const to = fitted.state === key.state ? 'is cut down to what is left' : `becomes ${fitted.state}`
    return [`key ${key.kid} of ${key.realm}, ${key.state}, ${to}`]
  })
  const before = slotsOf(charter, manifest.keys.values())
  const slots = slotsOf(charter, after.keys.values()).flatMap(
    ({ realm, issuer, purpose, keys: left }, at) => {
      if (canSign(left) || !canSign(before[at]?.keys ?? [])) return []
      const what = purpose === 'set' ? 'events of ' : ''
      return [
        `NO KEY OF ${realm} CAN SIGN ${what}${show(issuer)} until a new one has been published for long enough`,
      ]
    },
  )
  return [...keys, ...slots]
}

function canSign(keys: readonly ManifestKey[]): boolean {
  return keys.some(({ state }) => state === 'active' || state === 'published')
}

/** A list that counts as a set, but for these: their order means something, or may. */
const ordered: ReadonlySet<string> = new Set(['signers', 'algs', 'manifest_keys'])

const words: Readonly<Record<string, string>> = {
  threshold: 'how many operators must approve',
  manifest_keys: 'may sign manifests',
  block_keys: 'may block a key and nothing else',
  receipt_key: 'countersigns tokens',
  checkpoint_keys: 'sign checkpoints',
  issuers: 'whose name tokens carry',
  tenants: 'whose people tokens are about',
  token_types: 'what may be signed',
  algs: 'algorithms',
  max_ttl: 'the longest life of a token',
  signers: 'attest keys; the last makes new ones',
  rotation_seconds: 'how long a key signs',
  key_age_max: 'the longest that a key may sign',
  overlap_seconds: 'how long a key verifies after it stops signing',
  cache_seconds: 'the slowest cache of a key set',
  acknowledge_seconds: 'how long a rotation waits for a silent validator',
  webauthn: 'approves with a passkey alone',
}

/** Members that are a number of seconds. */
const seconds = /^(max_ttl|key_age_max|.*_seconds)$/

function differences(
  next: JsonValue | undefined,
  before: JsonValue | undefined,
  path: readonly string[],
): readonly string[] {
  if (isSame(next, before)) return []
  if (isBranch(next) || isBranch(before)) {
    if (Array.isArray(next ?? before) && Array.isArray(before ?? next)) {
      return listDifferences(asList(next), asList(before), path)
    }
    if (isObject(next ?? before) && isObject(before ?? next)) {
      const [after, earlier] = [asObject(next), asObject(before)]
      const names = new Set([...Object.keys(earlier), ...Object.keys(after)])
      return [...names].flatMap((name) => differences(after[name], earlier[name], [...path, name]))
    }
  }
  return [`${where(path)}: ${change(next, before, path.at(-1) ?? '')}`]
}

function listDifferences(
  next: readonly JsonValue[],
  before: readonly JsonValue[],
  path: readonly string[],
): readonly string[] {
  const [after, earlier] = [byName(next), byName(before)]
  const names = [...new Set([...earlier.keys(), ...after.keys()])]
  const lines = names.flatMap((name) => {
    const [item, itemBefore] = [after.get(name), earlier.get(name)]
    const isNamed = isBranch(item) || isBranch(itemBefore)
    if (isNamed) return differences(unnamed(item), unnamed(itemBefore), [...path, name])
    if (item !== undefined && itemBefore !== undefined) return []
    return [`${where(path)}: ${item === undefined ? 'without' : 'with'} ${name}`]
  })
  const isMoved = isReordered([...after.keys()], [...earlier.keys()])
  if (!isMoved && !(ordered.has(path.at(-1) ?? '') && next.length > 1)) return lines
  return [...lines, `${where(path)}: in this order: ${[...after.keys()].join(', ')}`]
}

/** Whether what stands in both stands in another order. */
function isReordered(after: readonly string[], before: readonly string[]): boolean {
  const stayed = after.filter((name) => before.includes(name))
  return before.filter((name) => after.includes(name)).some((name, at) => stayed[at] !== name)
}

/** Items by what people know them by. Two of one name would hide each other, so then each is named by its place too. */
function byName(items: readonly JsonValue[]): ReadonlyMap<string, JsonValue> {
  const names = items.map(nameOf)
  return new Map(
    items.map((item, at) => {
      const name = names[at] as string
      return [names.indexOf(name) === at ? name : `${name} (${at})`, item]
    }),
  )
}

function nameOf(item: JsonValue): string {
  if (!isObject(item)) return show(item)
  const { id, name } = item
  const named = id ?? name
  if (typeof named === 'string') return printable(named)
  return keyName(item) ?? show(item)
}

/** An item without what it is known by, which stands in its path already. */
function unnamed(item: JsonValue | undefined): JsonValue | undefined {
  if (!isObject(item)) return item
  const { id, name, ...others } = item
  if (typeof id === 'string') return { ...others, ...(name !== undefined && { name }) }
  return typeof name === 'string' ? others : item
}

function change(next: JsonValue | undefined, before: JsonValue | undefined, name: string): string {
  if (before === undefined) return `added, ${value(next, name)}`
  if (next === undefined) return `removed; it was ${value(before, name)}`
  return `${value(before, name)} -> ${value(next, name)}${direction(next, before, name)}`
}

function direction(next: JsonValue, before: JsonValue, name: string): string {
  if (typeof next !== 'number' || typeof before !== 'number') return ''
  const [more, fewer] = seconds.test(name) ? ['longer', 'shorter'] : ['more', 'fewer']
  return `, ${next > before ? more : fewer}`
}

function value(item: JsonValue | undefined, name: string): string {
  if (typeof item === 'number' && seconds.test(name)) return `${item} s${inLargerUnits(item)}`
  const key = isObject(item as JsonValue) ? keyName(item as JsonObject) : undefined
  return key === undefined ? show(item) : `key ${key}`
}

/** `realms.consumer.max_ttl (the longest life of a token)`. */
function where(path: readonly string[]): string {
  const said = path.map((name) => words[name]).findLast((text) => text !== undefined)
  const dotted = path.map(printable).join('.')
  return said === undefined ? dotted : `${dotted} (${said})`
}

/** A public key by algorithm and thumbprint; undefined for what is none. All of a key that counts is in its thumbprint. */
function keyName(item: JsonObject): string | undefined {
  if (!Object.hasOwn(item, 'kty')) return undefined
  try {
    const { kid, algorithm } = importPublicJwk(item)
    return `${kid} (${algorithm})`
  } catch {
    return undefined
  }
}

/** What has parts to look into. A key is a whole: one of its members alone says nothing. */
function isBranch(item: JsonValue | undefined): item is JsonObject | readonly JsonValue[] {
  return Array.isArray(item) || (isObject(item as JsonValue) && keyName(item as JsonObject) === undefined)
}

function isSame(one: JsonValue | undefined, other: JsonValue | undefined): boolean {
  return canonical(one) === canonical(other)
}

/** The same text for the same content, in whatever order its members stand. */
function canonical(item: JsonValue | undefined): string {
  return (
    JSON.stringify(item, (_, part: JsonValue) =>
      isObject(part) ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1))) : part,
    ) ?? ''
  )
}

function asList(item: JsonValue | undefined): readonly JsonValue[] {
  return Array.isArray(item) ? (item as readonly JsonValue[]) : []
}

function asObject(item: JsonValue | undefined): JsonObject {
  return item !== undefined && isObject(item) ? item : {}
}

function describeApproval(payload: JsonObject, { manifest }: InForce): readonly string[] {
  const { op, reason, proposer, iat, exp, jti: _, charter_version: __, ...target } = payload
  const what = describeTarget(op, target, manifest, Number(iat))
  return [
    ...what,
    `reason: ${show(reason)}`,
    `proposed by ${show(proposer)} at ${time(iat)}; ends unless approved by ${time(exp)}`,
  ]
}

function describeTarget(
  op: JsonValue | undefined,
  target: JsonObject,
  { keys }: InForce['manifest'],
  now: number,
): readonly string[] {
  const { iss, kid, kids, realm, until, name, blocked_at: blockedAt } = target
  const named = (id: JsonValue | undefined): string => describeKey(keys.get(String(id)), id)
  switch (op) {
    case 'lift':
      return [
        `${named(kid)} counts again, although it was blocked at ${time(blockedAt)}${blockedBy(keys.get(String(kid)))}`,
      ]
    case 'lift-foreign':
      return [
        `key ${show(kid)} of ${show(iss)}, not ours, counts again: it was blocked at ${time(blockedAt)}`,
      ]
    case 'activate':
      return [`${named(kid)} signs at once${waitOf(keys.get(String(kid)), now)}`]
    case 'break-glass':
      return [
        `keys of ${show(realm)} sign without waiting for caches and acknowledgements, until ${time(until)}`,
        `an alarm sounds, which nobody can silence`,
      ]
    case 'prune':
      return asList(kids).map((id) => `${named(id)} leaves the manifest`)
    case 'remove-validator':
      return [`validator ${show(name)} is waited for no longer, and what it says no longer counts`]
    default:
      return [`${show(op)}: ${show(target)}`]
  }
}

function describeKey(key: ManifestKey | undefined, kid: JsonValue | undefined): string {
  if (key === undefined) return `key ${show(kid)}, which no manifest names,`
  return `key ${key.kid} of ${key.realm}, ${key.state}, ${show(key.issuer)},`
}

function blockedBy(key: ManifestKey | undefined): string {
  return key?.blocked === undefined ? '' : ` by ${printable(key.blocked.by)}: ${show(key.blocked.reason)}`
}

function waitOf(key: ManifestKey | undefined, now: number): string {
  if (key === undefined || key.notBefore <= now) return ''
  return `, not from ${time(key.notBefore)} on: caches of its key set may not know it yet`
}

function time(item: JsonValue | undefined): string {
  const date = new Date(Number(item) * 1000)
  return Number.isNaN(date.getTime()) ? show(item) : date.toISOString().replace('.000Z', 'Z')
}

function inLargerUnits(count: number): string {
  const units = [
    ['d', 86_400],
    ['h', 3600],
    ['min', 60],
  ] as const
  const [name, size] = units.find(([, size]) => count >= size && count % size === 0) ?? ['s', 1]
  return size === 1 ? '' : ` (${count / size} ${name})`
}

function show(item: JsonValue | undefined): string {
  return printable(JSON.stringify(item) ?? 'nothing')
}

/** A terminal would obey some characters, and others would turn what is read around (T027). */
function printable(text: string): string {
  return text.replaceAll(/[^\P{C}]|[\p{Zl}\p{Zp}]/gu, (character) =>
    [...character].map((each) => `\\u{${(each.codePointAt(0) ?? 0).toString(16)}}`).join(''),
  )
}
