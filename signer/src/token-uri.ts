/**
 * Which token, of which module, holds a realm's keys, as a PKCS#11 URI (RFC 7512):
 *
 *     pkcs11:token=NAME;serial=1234;object=countersign-consumer?module-path=/usr/lib/softhsm/libsofthsm2.so
 *
 * `token`, `serial` or `slot-id` name the token, `manufacturer` and `model` narrow it down, and `object` begins the labels of
 * its keys. An attribute that is not read here is refused, since somebody meant something by it; so is a PIN, which stands
 * in a file of its own.
 * @module
 */

import { TokenFault } from './fault.ts'

export interface TokenAddress {
  readonly modulePath: string
  readonly token: string | undefined
  readonly serial: string | undefined
  readonly slotId: number | undefined
  readonly manufacturer: string | undefined
  readonly model: string | undefined
  /** What the labels of the keys begin with. */
  readonly object: string | undefined
}

const SCHEME = 'pkcs11:'

/** Whether a keystore is a token; anything else is the name of a file. */
export function isTokenUri(keystore: string): boolean {
  return keystore.startsWith(SCHEME)
}

/** Throws `TokenFault`, `uri_malformed`. Its message never repeats a value: somebody may have put a PIN there. */
export function parseTokenUri(uri: string): TokenAddress {
  if (!isTokenUri(uri)) throw malformed(`it does not begin with ${SCHEME}`)
  const [path = '', query = '', ...more] = uri.slice(SCHEME.length).split('?')
  if (more.length > 0) throw malformed('it has two question marks')
  const named = readAttributes(path, ';', pathAttributes)
  const asked = readAttributes(query, '&', queryAttributes)
  const modulePath = asked.get('module-path')
  if (modulePath === undefined) throw malformed('module-path is missing: the library of the token, as a file')
  if (!modulePath.startsWith('/')) throw malformed('module-path is not a whole path')
  const slotId = readSlotId(named.get('slot-id'))
  const [token, serial] = [named.get('token'), named.get('serial')]
  if (token === undefined && serial === undefined && slotId === undefined)
    throw malformed('it names no token: give token, serial or slot-id')
  const [manufacturer, model, object] = [named.get('manufacturer'), named.get('model'), named.get('object')]
  return { modulePath, token, serial, slotId, manufacturer, model, object }
}

const pathAttributes = ['token', 'serial', 'slot-id', 'manufacturer', 'model', 'object']
const queryAttributes = ['module-path']
/** Known to the RFC, and wrong here: an argument can be read by everybody on the machine. */
const pinAttributes = ['pin-value', 'pin-source']

function readAttributes(
  text: string,
  separator: string,
  known: readonly string[],
): ReadonlyMap<string, string> {
  const read = new Map<string, string>()
  for (const attribute of text === '' ? [] : text.split(separator)) {
    const at = attribute.indexOf('=')
    const name = attribute.slice(0, at)
    if (at < 1) throw malformed('an attribute has no name or no value')
    if (pinAttributes.includes(name))
      throw malformed('it has a PIN or the place of one: the PIN belongs into the file of --passphrase-file')
    if (!known.includes(name)) throw malformed('it has an attribute that is not read here')
    if (read.has(name)) throw malformed(`${name} stands in it twice`)
    read.set(name, decodePercent(name, attribute.slice(at + 1)))
  }
  return read
}

function decodePercent(name: string, text: string): string {
  try {
    const value = decodeURIComponent(text)
    if (value !== '' && !/\p{Cc}/u.test(value)) return value
  } catch {}
  throw malformed(`${name} is empty or not percent-encoded UTF-8`)
}

function readSlotId(text: string | undefined): number | undefined {
  if (text === undefined || (/^\d{1,15}$/.test(text) && Number.isSafeInteger(Number(text))))
    return text === undefined ? undefined : Number(text)
  throw malformed('slot-id is not a number')
}

function malformed(why: string): TokenFault {
  return new TokenFault('uri_malformed', `the URI of the token cannot be used: ${why}`)
}
