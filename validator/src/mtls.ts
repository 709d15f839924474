/**
 * Mutual TLS (RFC 8705): a token that is bound to a certificate (`cnf.x5t#S256`) counts only over a connection whose client
 * showed that certificate, and so has its key. As a binding of a guard:
 *
 *     createGuard(validator, { bindings: [mtls({ from: 'connection' })] })
 *
 * Where TLS ends at a proxy, the proxy says in a header which certificate that was. Rule: spec/sender.md, section 3.
 * @module
 */

import { hash, X509Certificate } from 'node:crypto'
import { isIP, SocketAddress } from 'node:net'
import type { Binding, GuardedRequest, Proof } from './guard.ts'
import { headerValues } from './headers.ts'

/** Where the certificate of the client is learnt from. */
export interface MtlsOptions {
  /** The own connection, or what a proxy says. Never both: one of them would be the way around the other. */
  readonly from: 'connection' | ForwardedCertificate
}

/** A certificate in a header, which the proxy has to overwrite or remove whatever its client sent. */
export interface ForwardedCertificate {
  readonly header: string
  readonly format: CertificateFormat
  /** Addresses of the proxy, no names and no networks. Of anybody else, the header is not looked at. */
  readonly peers: readonly string[]
}

/** How a proxy may write a certificate into a header. */
export const certificateFormats = ['nginx', 'envoy', 'rfc9440', 'base64'] as const
/**
 * - `nginx`: percent-encoded PEM, as `$ssl_client_escaped_cert` is and AWS's load balancers send it.
 * - `envoy`: `x-forwarded-client-cert` with one element, by its `Cert` or `Hash`.
 * - `rfc9440`: `Client-Cert`, a byte sequence between colons.
 * - `base64`: DER in base64, as HAProxy's `ssl_c_der,base64` gives it and Traefik sends it.
 */
export type CertificateFormat = (typeof certificateFormats)[number]

/** Throws `TypeError` where an option is of no use. */
export function mtls({ from }: MtlsOptions): Binding {
  if (from === 'connection') {
    return {
      confirm: ({ certificate }): Proof => {
        const der = certificate?.()
        return der === undefined ? {} : { confirmation: { 'x5t#S256': digest(der) } }
      },
    }
  }
  const read = certificateReader(from)
  return {
    confirm: (request): Proof => {
      const seen = read(request)
      if (seen === 'malformed') return { error: malformed }
      return seen === undefined ? {} : { confirmation: { 'x5t#S256': seen.thumbprint } }
    },
  }
}

/** A certificate as a proxy names it. */
export interface SeenCertificate {
  /** SHA-256, base64url. */
  readonly thumbprint: string
  /** Not known where the proxy gives a hash alone. */
  readonly der?: Uint8Array
}

/** Reads what a proxy says in its header; undefined where it says nothing, or who says it is not the proxy. */
export function certificateReader(
  from: ForwardedCertificate,
): (request: Pick<GuardedRequest, 'rawHeaders' | 'peer'>) => SeenCertificate | 'malformed' | undefined {
  const header = from.header.toLowerCase()
  const peers = new Set(from.peers.map(readPeer))
  const read = readers[from.format]
  if (!/^[a-z0-9-]+$/.test(header) || peers.size === 0 || read === undefined)
    throw new TypeError('a certificate from a proxy needs its header, format and peers')
  return ({ rawHeaders, peer }) => {
    if (peer === undefined || !peers.has(plainAddress(peer))) return undefined
    const [value = '', ...others] = headerValues(rawHeaders, header)
    if (others.length > 0) return 'malformed'
    // What nginx sends where there was none is empty, or a dash.
    return value === '' || value === '-' ? undefined : (read(value) ?? 'malformed')
  }
}

/** RFC 8705, section 3. */
const malformed = {
  code: 'invalid_token',
  description: 'the header of the client certificate is not well-formed',
}

/** A name or a network would match no address, and every token be refused. */
function readPeer(text: string): string {
  const family = isIP(text)
  if (family === 0) throw new TypeError(`${text} is not the address of a proxy`)
  // Of its many spellings, the one that sockets give. They leave the zone where it is.
  const isPlain = family === 4 || text.includes('%')
  return plainAddress(isPlain ? text : new SocketAddress({ address: text, family: 'ipv6' }).address)
}

/** A socket for both kinds of addresses writes those of the older kind in its own way. */
function plainAddress(address: string): string {
  return address.toLowerCase().replace(/^::ffff:(?=[0-9.]+$)/, '')
}

/** Each gives undefined for what is not exactly one certificate. */
const readers: Readonly<Record<CertificateFormat, (value: string) => SeenCertificate | undefined>> = {
  nginx: (value) => fromPem(unescapePercent(value)),
  envoy: readForwardedClientCert,
  rfc9440: (value) => fromBase64(/^:([^:]*):$/.exec(value)?.[1]),
  base64: fromBase64,
}

function digest(der: Uint8Array): string {
  return hash('sha256', der, 'base64url')
}

function fromBase64(text: string | undefined): SeenCertificate | undefined {
  if (text === undefined) return undefined
  const der = Buffer.from(text, 'base64')
  // Node skips what is no base64.
  if (der.toString('base64') !== text) return undefined
  try {
    // A hash fits any bytes; they have to be those of a certificate, and no more.
    return new X509Certificate(der).raw.equals(der) ? { thumbprint: digest(der), der } : undefined
  } catch {
    return undefined
  }
}

function fromPem(text: string | undefined): SeenCertificate | undefined {
  const [, body] =
    /^-----BEGIN CERTIFICATE-----\s([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----\s*$/.exec(text ?? '') ?? []
  return fromBase64(body?.replace(/\s+/g, ''))
}

function unescapePercent(text: string): string | undefined {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}

/**
 * `key=value` with semicolons between; a value with one of `,;=` stands in quotes. A comma begins the certificate of another
 * hop, and which of them is the client's nobody here can know: Envoy has to be told to set the header and not to append.
 */
function readForwardedClientCert(value: string): SeenCertificate | undefined {
  const pair = /([A-Za-z]+)=("(?:[^"\\]|\\.)*"|[^",;]*)(;|$)/y
  const found = new Map<string, string>()
  while (pair.lastIndex < value.length) {
    const [, name = '', text = ''] = pair.exec(value) ?? []
    const key = name.toLowerCase()
    // The names in a certificate may stand there several times; the certificate may not.
    if (key === '' || ((key === 'cert' || key === 'hash') && found.has(key))) return undefined
    found.set(key, text.startsWith('"') ? text.slice(1, -1) : text)
  }
  const [hex, pem] = [found.get('hash'), found.get('cert')]
  if (hex !== undefined && !/^[0-9a-f]{64}$/i.test(hex)) return undefined
  const hashed = hex === undefined ? undefined : Buffer.from(hex, 'hex').toString('base64url')
  if (pem === undefined) return hashed === undefined ? undefined : { thumbprint: hashed }
  const whole = fromPem(unescapePercent(pem))
  return hashed === undefined || hashed === whole?.thumbprint ? whole : undefined
}
