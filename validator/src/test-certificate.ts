/**
 * Certificates (RFC 5280) for tests, made on the spot, so that no private key lies about: self-signed, or by an authority
 * that was made in the same way. Nothing here is for production.
 * @module
 */

import { generateKeyPairSync, randomBytes, sign, X509Certificate } from 'node:crypto'

export interface TestCertificate {
  readonly der: Buffer
  readonly pem: string
  /** PEM. */
  readonly privateKey: string
  /** `x5t#S256`. */
  readonly thumbprint: string
  /** DER of its name. */
  readonly subject: Buffer
}

/** What is otherwise than usual. */
export interface TestCertificateOptions {
  /** Who signs it. Left out: it does itself. */
  readonly issuer?: TestCertificate
  /** It may sign others. */
  readonly isAuthority?: boolean
  /** Milliseconds since the epoch: from when, and until when. */
  readonly valid?: readonly [number, number]
  /** What its subject has in front of the common name: each an OID and a value. */
  readonly attributes?: readonly (readonly [oid: string, value: string])[]
  /** Its subject alternative names, instead of the name as a DNS name; `ip` has four bytes. */
  readonly names?: {
    readonly dns?: string
    readonly uri?: string
    readonly email?: string
    readonly ip?: Buffer
  }
  /** What its key is for, by OID. Left out: anything. */
  readonly purpose?: string
  /** It is signed by SHA-1. */
  readonly isWeak?: boolean
}

const DAY_MILLISECONDS = 24 * 3600 * 1000

/** Valid from yesterday for two days, by a new key on P-256. */
export function createTestCertificate(name: string, options: TestCertificateOptions = {}): TestCertificate {
  const { issuer, isAuthority, attributes = [], names = { dns: name }, purpose, isWeak } = options
  const algorithm = der(0x30, oid(isWeak ? ECDSA_SHA1 : ECDSA_SHA256))
  const [from, until] = options.valid ?? [Date.now() - DAY_MILLISECONDS, Date.now() + DAY_MILLISECONDS]
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const subject = der(
    0x30,
    ...[...attributes, [COMMON_NAME, name] as const].map(([id, value]) =>
      der(0x31, der(0x30, oid(id), der(0x0c, Buffer.from(value)))),
    ),
  )
  const alternatives = [
    ...(names.email === undefined ? [] : [der(0x81, Buffer.from(names.email))]),
    ...(names.dns === undefined ? [] : [der(0x82, Buffer.from(names.dns))]),
    ...(names.uri === undefined ? [] : [der(0x86, Buffer.from(names.uri))]),
    ...(names.ip === undefined ? [] : [der(0x87, names.ip)]),
  ]
  const extensions = [
    ...(isAuthority ? [extension(BASIC_CONSTRAINTS, der(0x30, der(0x01, Buffer.from([0xff]))))] : []),
    ...(purpose === undefined ? [] : [extension(EXTENDED_KEY_USAGE, der(0x30, oid(purpose)))]),
    ...(alternatives.length === 0 ? [] : [extension(ALTERNATIVE_NAME, der(0x30, ...alternatives))]),
  ]
  const tbs = der(
    0x30,
    der(0xa0, der(0x02, Buffer.from([2]))),
    // The first bit would make it negative.
    der(0x02, Buffer.from([1]), randomBytes(8)),
    algorithm,
    issuer?.subject ?? subject,
    der(0x30, time(from), time(until)),
    subject,
    publicKey.export({ type: 'spki', format: 'der' }),
    ...(extensions.length === 0 ? [] : [der(0xa3, der(0x30, ...extensions))]),
  )
  const digest = isWeak ? 'sha1' : 'sha256'
  const signature = der(0x03, Buffer.from([0]), sign(digest, tbs, issuer?.privateKey ?? privateKey))
  const certificate = new X509Certificate(der(0x30, tbs, algorithm, signature))
  return {
    der: certificate.raw,
    pem: certificate.toString(),
    privateKey: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    thumbprint: Buffer.from(certificate.fingerprint256.replaceAll(':', ''), 'hex').toString('base64url'),
    subject,
  }
}

/** PEM. What an authority has taken back (RFC 5280, section 5). */
export function createTestRevocationList(
  { subject, privateKey }: TestCertificate,
  revoked: readonly TestCertificate[],
): string {
  const now = time(Date.now() - 60_000)
  const entries = revoked.map((certificate) => {
    const serial = Buffer.from(new X509Certificate(certificate.der).serialNumber, 'hex')
    return der(0x30, der(0x02, serial), now)
  })
  const tbs = der(
    0x30,
    der(0x02, Buffer.from([1])),
    der(0x30, oid(ECDSA_SHA256)),
    subject,
    now,
    time(Date.now() + DAY_MILLISECONDS),
    ...(entries.length === 0 ? [] : [der(0x30, ...entries)]),
  )
  const signature = der(0x03, Buffer.from([0]), sign('sha256', tbs, privateKey))
  const list = der(0x30, tbs, der(0x30, oid(ECDSA_SHA256)), signature).toString('base64')
  return `-----BEGIN X509 CRL-----\n${list.replace(/.{64}/g, '$&\n')}\n-----END X509 CRL-----\n`
}

function extension(id: string, content: Buffer): Buffer {
  return der(0x30, oid(id), der(0x04, content))
}

/** Tag, length, content. */
function der(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(parts)
  const { length } = content
  const sizes = length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...sizes]), content])
}

/** Seven bits a byte, the first two numbers in one. */
function oid(id: string): Buffer {
  const [first = 0, second = 0, ...others] = id.split('.').map(Number)
  const bytes = [first * 40 + second, ...others].flatMap((number) => {
    const groups = [number & 0x7f]
    for (let rest = number >> 7; rest > 0; rest >>= 7) groups.unshift((rest & 0x7f) | 0x80)
    return groups
  })
  return der(0x06, Buffer.from(bytes))
}

/** UTCTime. */
function time(milliseconds: number): Buffer {
  const text = new Date(milliseconds).toISOString().slice(2, 19).replace(/[-T:]/g, '')
  return der(0x17, Buffer.from(`${text}Z`))
}

const COMMON_NAME = '2.5.4.3'
const BASIC_CONSTRAINTS = '2.5.29.19'
const ALTERNATIVE_NAME = '2.5.29.17'
const EXTENDED_KEY_USAGE = '2.5.29.37'
const ECDSA_SHA256 = '1.2.840.10045.4.3.2'
const ECDSA_SHA1 = '1.2.840.10045.4.1'
