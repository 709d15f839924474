/**
 * Whether a certificate is of the subject that a client was registered with (RFC 8705, section 2.1.2): its whole
 * distinguished name (RFC 4514), or one of its alternative names. Compared as written, capitals too, but for host names;
 * nothing is a pattern. Pure.
 * @module
 */

import type { X509Certificate } from 'node:crypto'

/** What of a certificate names its subject. */
export type Named = Pick<
  X509Certificate,
  'subject' | 'subjectAltName' | 'checkHost' | 'checkEmail' | 'checkIP'
>

/** By the name that a client has it under. Its value was found to be of that kind. */
export const subjectChecks: Readonly<Record<SubjectProperty, (named: Named, expected: string) => boolean>> = {
  tls_client_auth_subject_dn: ({ subject }, expected) => {
    const wanted = readDistinguishedName(expected)
    // Node writes a relative name to a line, escaped, and the most significant one first.
    const shown = readDistinguishedName((subject ?? '').split('\n').reverse().join(','))
    return wanted !== undefined && wanted === shown
  },
  tls_client_auth_san_dns: (named, expected) =>
    named.checkHost(expected, { subject: 'never', wildcards: false }) !== undefined,
  tls_client_auth_san_uri: ({ subjectAltName }, expected) =>
    readNames(subjectAltName).includes(`URI:${expected}`),
  tls_client_auth_san_ip: (named, expected) => named.checkIP(expected) !== undefined,
  tls_client_auth_san_email: (named, expected) =>
    named.checkEmail(expected, { subject: 'never' }) !== undefined,
}

export type SubjectProperty =
  | 'tls_client_auth_subject_dn'
  | 'tls_client_auth_san_dns'
  | 'tls_client_auth_san_uri'
  | 'tls_client_auth_san_ip'
  | 'tls_client_auth_san_email'

/** In one spelling, whatever spaces, escapes and names of attributes it was written with; undefined where it is none. */
export function readDistinguishedName(text: string): string | undefined {
  const relative: string[][] = [[]]
  attribute.lastIndex = 0
  while (attribute.lastIndex < text.length) {
    const [, type = '', value = '', separator] = attribute.exec(text) ?? []
    const name = attributeNames.get(type.toLowerCase()) ?? (/^\d+(\.\d+)+$/.test(type) ? type : undefined)
    const plain = readValue(value)
    if (name === undefined || plain === undefined) return undefined
    relative.at(-1)?.push(JSON.stringify([name, plain]))
    if (separator === ',') relative.push([])
    // A separator has something behind it.
    if (separator === '' && attribute.lastIndex < text.length) return undefined
    if (separator !== '' && attribute.lastIndex === text.length) return undefined
  }
  return text === '' ? undefined : JSON.stringify(relative.map((attributes) => attributes.sort()))
}

/** `type=value`, then a comma, a plus or the end. Quotes are of an older form and are not taken. */
const attribute =
  / *([A-Za-z][A-Za-z0-9-]*|[0-9.]+) *= *((?:[^\\,+"<>;\0]|\\[0-9A-Fa-f]{2}|\\[ "#+,;<=>\\])*)(,|\+|$)/y

/** Escaped as RFC 4514 has it, section 2.4. One in hexadecimal (`#04…`) is not taken. */
function readValue(escaped: string): string | undefined {
  if (escaped.startsWith('#')) return undefined
  let end = escaped.length
  while (escaped[end - 1] === ' ') end -= 1
  let start = end
  while (escaped[start - 1] === '\\') start -= 1
  // The first of those spaces may be one that was meant.
  if ((end - start) % 2 === 1) end += 1
  const parts = escaped.slice(0, end).matchAll(/\\([0-9A-Fa-f]{2})|\\(.)|([^\\]+)/gsu)
  const bytes = Buffer.concat(
    [...parts].map(([, hex, one, plain]) =>
      hex === undefined ? Buffer.from(one ?? plain ?? '') : Buffer.from(hex, 'hex'),
    ),
  )
  const text = bytes.toString('utf8')
  return Buffer.from(text).equals(bytes) ? text : undefined
}

/** Each with the names that it goes by; the first is how it is compared. */
const attributeNames: ReadonlyMap<string, string> = new Map(
  [
    ['CN', '2.5.4.3', 'commonName'],
    ['SN', '2.5.4.4', 'surname'],
    ['serialNumber', '2.5.4.5'],
    ['C', '2.5.4.6', 'countryName'],
    ['L', '2.5.4.7', 'localityName'],
    ['ST', '2.5.4.8', 'S', 'stateOrProvinceName'],
    ['street', '2.5.4.9', 'streetAddress'],
    ['O', '2.5.4.10', 'organizationName'],
    ['OU', '2.5.4.11', 'organizationalUnitName'],
    ['title', '2.5.4.12'],
    ['businessCategory', '2.5.4.15'],
    ['postalCode', '2.5.4.17'],
    ['GN', '2.5.4.42', 'givenName'],
    ['dnQualifier', '2.5.4.46'],
    ['organizationIdentifier', '2.5.4.97'],
    ['UID', '0.9.2342.19200300.100.1.1', 'userId'],
    ['DC', '0.9.2342.19200300.100.1.25', 'domainComponent'],
    ['emailAddress', '1.2.840.113549.1.9.1', 'E'],
    ['jurisdictionC', '1.3.6.1.4.1.311.60.2.1.3', 'jurisdictionCountryName'],
  ].flatMap((names) => names.map((name) => [name.toLowerCase(), names[0] as string] as const)),
)

/** As Node writes them: `DNS:a.example, URI:"what is odd\u002c quoted"`. A comma inside a quoted one begins no other. */
function readNames(subjectAltName: string | undefined): readonly string[] {
  return [...(subjectAltName ?? '').matchAll(/([A-Za-z ]+):("(?:[^"\\]|\\.)*"|[^,"]*)(?:, |$)/gy)].map(
    ([, kind = '', value = '']) => `${kind}:${value.startsWith('"') ? (JSON.parse(value) as string) : value}`,
  )
}
