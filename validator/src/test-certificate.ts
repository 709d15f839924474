/**
 * Self-signed certificates (RFC 5280) for tests, made on the spot, so that no private key lies about. Nothing here is for
 * production.
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
}

/** Valid from yesterday for two days, by a new key on P-256. */
export function createTestCertificate(name: string): TestCertificate {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const day = 24 * 3600 * 1000
  const subject = der(0x30, der(0x31, der(0x30, COMMON_NAME, der(0x0c, Buffer.from(name)))))
  const tbs = der(
    0x30,
    der(0xa0, der(0x02, Buffer.from([2]))),
    // The first bit would make it negative.
    der(0x02, Buffer.from([1]), randomBytes(8)),
    ECDSA_SHA256,
    subject,
    der(0x30, time(Date.now() - day), time(Date.now() + day)),
    subject,
    publicKey.export({ type: 'spki', format: 'der' }),
    der(0xa3, der(0x30, der(0x30, ALTERNATIVE_NAME, der(0x04, der(0x30, der(0x82, Buffer.from(name))))))),
  )
  const signature = der(0x03, Buffer.from([0]), sign('sha256', tbs, privateKey))
  const certificate = new X509Certificate(der(0x30, tbs, ECDSA_SHA256, signature))
  return {
    der: certificate.raw,
    pem: certificate.toString(),
    privateKey: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    thumbprint: Buffer.from(certificate.fingerprint256.replaceAll(':', ''), 'hex').toString('base64url'),
  }
}

/** Tag, length, content. */
function der(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(parts)
  const { length } = content
  const sizes = length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...sizes]), content])
}

/** UTCTime. */
function time(milliseconds: number): Buffer {
  const text = new Date(milliseconds).toISOString().slice(2, 19).replace(/[-T:]/g, '')
  return der(0x17, Buffer.from(`${text}Z`))
}

/** 2.5.4.3 */
const COMMON_NAME = Buffer.from('0603550403', 'hex')
/** 2.5.29.17 */
const ALTERNATIVE_NAME = Buffer.from('0603551d11', 'hex')
/** 1.2.840.10045.4.3.2 */
const ECDSA_SHA256 = Buffer.from('300a06082a8648ce3d040302', 'hex')
