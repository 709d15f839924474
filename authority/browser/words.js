/**
 * Documents, times and refusals in the words of people. Pure.
 * @module
 */

/** @typedef {import('./document.js').Json} Json */
/** @typedef {import('./document.js').JsonObject} JsonObject */

/** What a member of a charter is. */
const members = /** @type {Readonly<Record<string, string>>} */ ({
  threshold: 'How many operators have to approve',
  jwk: 'Approves with the key',
  webauthn: 'Approves with a passkey',
  rp_id: 'Domain of the passkey',
  origins: 'Passkey works on pages of',
  manifest_keys: 'Keys that may sign manifests',
  block_keys: 'Keys that may block a key and nothing else',
  receipt_key: 'Key that countersigns tokens',
  checkpoint_keys: 'Keys that sign checkpoints',
  issuers: 'Issuers whose name tokens may carry',
  tenants: 'Tenants whose people tokens may be about',
  token_types: 'Kinds of token',
  algs: 'Algorithms',
  max_ttl: 'Longest life of a token',
  signers: 'Signers that attest keys; the last makes new ones',
  rotation_seconds: 'How long a key signs',
  key_age_max: 'Longest time that a key may sign',
  overlap_seconds: 'How long a key verifies after it stops signing',
  cache_seconds: 'Slowest cache of a key set',
  acknowledge_seconds: 'How long a rotation waits for a silent validator',
  kid: 'Key',
  kids: 'Keys',
  blocked_at: 'Blocked at',
  realm: 'Realm',
  until: 'Until',
  name: 'Validator',
  reason: 'Reason',
  proposer: 'Proposed by',
  iat: 'Proposed at',
  exp: 'Over, unless approved, at',
  charter_version: 'Under charter',
  op: 'Operation',
  jti: 'Number used once',
})

/** Members that count seconds, and members that are a moment. */
const seconds = /^(max_ttl|key_age_max|.*_seconds)$/
const moments = /^(iat|exp|until|blocked_at)$/

/**
 * Where in a charter something stands: the section of the page, the thing there (a person, say), and what of the thing.
 * @param {readonly string[]} path
 * @returns {{ section: string, thing: string | undefined, rest: readonly string[] }}
 */
export function placeOf(path) {
  const [top = '', name, ...rest] = path
  const isNamed = name !== undefined && rest.length > 0
  switch (top) {
    case 'operators':
    case 'threshold':
      if (!isNamed) return { section: 'Who approves', thing: undefined, rest: path }
      return { section: 'Who approves', thing: `Operator ${visible(name)}`, rest }
    case 'witnesses':
      if (!isNamed) return { section: 'Who countersigns', thing: undefined, rest: path }
      return { section: 'Who countersigns', thing: `Witness ${visible(name)}`, rest }
    case 'realms':
      if (!isNamed) return { section: 'Realms', thing: undefined, rest: path }
      return { section: 'Realms', thing: `Realm ${visible(name)}`, rest }
    case 'manifest_keys':
    case 'block_keys':
      return { section: 'Who manages keys', thing: undefined, rest: path }
    default:
      return { section: 'Other', thing: undefined, rest: path }
  }
}

/**
 * A member in words; undefined when there are none for it.
 * @param {readonly string[]} path
 */
export function meaningOf(path) {
  return path.map((name) => (Object.hasOwn(members, name) ? members[name] : undefined)).findLast(Boolean)
}

/**
 * A value of a member, as it is read out.
 * @param {Json | undefined} value
 * @param {string} name of the member
 */
export function textOf(value, name) {
  if (typeof value === 'string') return visible(value)
  if (typeof value === 'number' && seconds.test(name)) return `${value} s${inLargerUnits(value)}`
  if (typeof value === 'number' && moments.test(name)) return `${value} (${moment(value)})`
  return visible(JSON.stringify(value) ?? 'nothing')
}

/**
 * Whether a number grows: said beside it, since two long numbers look alike.
 * @param {Json | undefined} before
 * @param {Json | undefined} after
 * @param {string} name of the member
 */
export function directionOf(before, after, name) {
  if (typeof before !== 'number' || typeof after !== 'number') return undefined
  const [more, fewer] = seconds.test(name) ? ['longer', 'shorter'] : ['more', 'fewer']
  return after > before ? more : fewer
}

/**
 * What an approval makes happen. `key` is how the manifest in force describes the key; it is not part of what is signed.
 * @param {JsonObject} payload
 */
export function actOf(payload) {
  const { op } = payload
  switch (op) {
    case 'lift':
      return {
        title: 'Lift the block on a key',
        effect: 'Validators accept tokens of this key again, although somebody or something had it blocked.',
      }
    case 'activate':
      return {
        title: 'Let a key sign early',
        effect: 'The key signs at once, although caches of its key set may not know it yet.',
      }
    case 'break-glass':
      return {
        title: 'Break the glass',
        effect:
          'Keys of this realm sign without waiting for caches and acknowledgements until the time below. An alarm sounds that nobody can silence.',
      }
    case 'prune':
      return {
        title: 'Drop keys from the manifest',
        effect: 'These keys leave the manifest for good. They verify nothing any more.',
      }
    case 'remove-validator':
      return {
        title: 'Remove a validator',
        effect: 'Nobody waits for this validator any more, and what it reports no longer counts.',
      }
    default:
      return {
        title: visible(JSON.stringify(op) ?? 'Nothing'),
        effect: 'This page does not know what that is. Do not approve what you do not understand.',
      }
  }
}

/** @param {number} time seconds since the epoch */
export function moment(time) {
  const date = new Date(time * 1000)
  if (Number.isNaN(date.getTime())) return 'no time that there is'
  return date
    .toISOString()
    .replace('T', ' ')
    .replace(/\.\d+Z$/, ' UTC')
}

/**
 * `9:05`, of seconds that are left.
 * @param {number} left
 */
export function clock(left) {
  const whole = Math.max(0, Math.ceil(left))
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, '0')}`
}

/**
 * Text in which every character shows. Some turn what is read around, or take no room (T027).
 * @param {string} text
 */
export function visible(text) {
  return text.replaceAll(
    /[\p{C}\p{Zl}\p{Zp}]/gu,
    (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`,
  )
}

/** @param {number} count of seconds */
function inLargerUnits(count) {
  const units = /** @type {const} */ ([
    ['d', 86_400],
    ['h', 3600],
    ['min', 60],
  ])
  const unit = units.find(([, size]) => count >= size && count % size === 0)
  return unit === undefined ? '' : ` (${count / unit[1]} ${unit[0]})`
}
