/**
 * Subject identifiers (RFC 9493 and section 3 of OpenID SSF 1.0): how a receiver names whom it wants to hear nothing of.
 * Pure. They are compared as they are; whether anybody is meant by one is not asked, so that nobody learns it by asking.
 * @module
 */

import { isObject, type JsonObject, type JsonValue } from '@countersign/validator/json'

/** Members of each simple format, all of them texts. Whatever else stands in one makes it invalid (RFC 9493, section 3). */
const formats: Readonly<Record<string, readonly string[]>> = {
  account: ['uri'],
  did: ['url'],
  email: ['email'],
  iss_sub: ['iss', 'sub'],
  jwt_id: ['iss', 'jti'],
  opaque: ['id'],
  phone_number: ['phone_number'],
  saml_assertion_id: ['issuer', 'assertion_id'],
  uri: ['uri'],
}

const TEXT_CHARACTERS_MAX = 512
const ADDRESSES_MAX = 16
const MEMBERS_MAX = 16

/** The identifier if it is one of a known format, in one spelling. */
export function readSubject(value: JsonValue | undefined): JsonObject | undefined {
  if (!isObject(value)) return undefined
  return value['format'] === 'complex' ? readComplex(value) : readSimple(value)
}

/**
 * The spellings of every identifier by which a receiver says that it wants to hear nothing of `subject`: of a complex one, its
 * user and any of its members together. Only what a receiver named counts, where the rule for adding one (section 8.1.3.1)
 * takes a missing member for any, so nobody removes more than they say. They are looked up, since a cutoff tells of
 * thousands of subjects at once, to receivers that each may leave out a thousand.
 */
export function namesOf(subject: JsonObject): readonly string[] {
  const { format, user, ...others } = subject
  if (format !== 'complex') return [spell(subject)]
  let named: readonly JsonObject[] = [{ format }]
  for (const [name, value] of Object.entries({ ...others, ...(user !== undefined && { user }) }))
    named = [...named, ...named.map((members) => ({ ...members, [name]: value }))]
  return [...(user === undefined ? [] : [spell(user)]), ...named.map(spell)]
}

/** One text for one identifier, whatever the order of its members. */
export function spell(value: JsonValue | undefined): string {
  if (!isObject(value)) return JSON.stringify(value)
  const members = Object.keys(value).sort()
  return `{${members.map((name) => `${JSON.stringify(name)}:${spell(value[name])}`).join()}}`
}

function readSimple({ format, ...members }: JsonObject): JsonObject | undefined {
  if (format === 'ip-addresses') return readAddresses(members)
  const names = typeof format === 'string' && Object.hasOwn(formats, format) ? formats[format] : undefined
  if (names === undefined || Object.keys(members).length !== names.length) return undefined
  return names.every((name) => isText(members[name])) ? { format, ...members } : undefined
}

function readAddresses({ 'ip-addresses': addresses, ...others }: JsonObject): JsonObject | undefined {
  if (Object.keys(others).length > 0 || !Array.isArray(addresses)) return undefined
  if (addresses.length === 0 || addresses.length > ADDRESSES_MAX || !addresses.every(isText)) return undefined
  return { format: 'ip-addresses', 'ip-addresses': addresses }
}

function readComplex({ format, ...members }: JsonObject): JsonObject | undefined {
  const names = Object.keys(members)
  if (names.length === 0 || names.length > MEMBERS_MAX) return undefined
  const read = names.map((name) => [name, readMember(members[name])] as const)
  if (read.some(([, member]) => member === undefined)) return undefined
  return { format, ...Object.fromEntries(read) }
}

function readMember(value: JsonValue | undefined): JsonObject | undefined {
  return isObject(value) && value['format'] !== 'complex' ? readSimple(value) : undefined
}

function isText(value: JsonValue | undefined): value is string {
  return typeof value === 'string' && value !== '' && value.length <= TEXT_CHARACTERS_MAX
}
