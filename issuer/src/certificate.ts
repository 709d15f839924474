/**
 * The certificates that clients show (RFC 8705): on a connection of our own, or to the proxy in front, which says so in a
 * header. Whoever asked for it has made sure that the client has its key. A token is bound to the certificate itself,
 * whatever is in it; a client that signs in with one has to be its subject, and somebody we trust vouches for that.
 * @module
 */

import { constants, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import type { ServerOptions } from 'node:https'
import { createSecureContext, TLSSocket } from 'node:tls'
import type { Binding } from '@countersign/validator/guard'
import { type PublicJwk, thumbprint } from '@countersign/validator/jws'
import { certificateReader, mtls } from '@countersign/validator/mtls'
import { type ClientMetadata, errors } from 'oidc-provider'
import type { IssuerConfig } from './config.ts'
import { type SubjectProperty, subjectChecks } from './subject.ts'

export interface ClientCertificates {
  /** The one that came with a request. One that is not in its time is none. */
  of(request: IncomingMessage): X509Certificate | undefined
  /** Whether one of the authorities that sign for clients has signed it. */
  isVouchedFor(request: IncomingMessage): boolean
  /** What there is for clients to sign in with. */
  readonly methods: readonly CertificateMethod[]
  /** Where clients come with them, if not to the realm's own address. */
  readonly publicUrl: string | undefined
  /** For a guard: what a request that comes with a token has shown. */
  readonly binding: Binding
}

export type CertificateMethod = 'tls_client_auth' | 'self_signed_tls_client_auth'

export function isCertificateMethod(method: string | undefined): method is CertificateMethod {
  return method === 'tls_client_auth' || method === 'self_signed_tls_client_auth'
}

/** Throws when a file is missing, or holds something else. Undefined where no certificate is looked at. */
export function openClientCertificates(
  config: Pick<IssuerConfig, 'client_certificate' | 'mutual_tls'>,
): ClientCertificates | undefined {
  const { client_certificate: forwarded, mutual_tls: own } = config
  const wanted = forwarded ?? own
  if (wanted === undefined) return undefined
  const show = forwarded === undefined ? shownOnConnection : shownToProxy(forwarded)
  const authorities = readAuthorities(wanted.client_ca)
  const of = (request: IncomingMessage): X509Certificate | undefined => {
    const certificate = show(request)
    return certificate !== undefined && isInTime(certificate) ? certificate : undefined
  }
  return {
    of,
    isVouchedFor: (request) => {
      const certificate = of(request)
      if (certificate === undefined) return false
      // OpenSSL has looked at the whole chain, and at what has been revoked.
      if (forwarded === undefined) return request.socket instanceof TLSSocket && request.socket.authorized
      return isForClients(certificate) && authorities.some((authority) => hasSigned(authority, certificate))
    },
    methods: [
      'self_signed_tls_client_auth',
      ...(authorities.length === 0 ? [] : (['tls_client_auth'] as const)),
    ],
    publicUrl: wanted.public_url,
    binding: mtls({ from: forwarded ?? 'connection' }),
  }
}

/** Whether a client that signs in with certificates has done so. */
export function isSignedInByCertificate(
  { token_endpoint_auth_method: method, jwks, ...metadata }: ClientMetadata,
  request: IncomingMessage,
  certificates: ClientCertificates,
): boolean {
  const certificate = certificates.of(request)
  if (certificate === undefined) return false
  switch (method) {
    case 'tls_client_auth':
      return (
        certificates.isVouchedFor(request) &&
        (Object.keys(subjectChecks) as SubjectProperty[]).some((property) => {
          const expected = metadata[property]
          return typeof expected === 'string' && subjectChecks[property](certificate, expected)
        })
      )
    case 'self_signed_tls_client_auth':
      return (jwks?.keys ?? []).some(({ x5c = [] }) =>
        certificate.raw.equals(Buffer.from(x5c[0] ?? '', 'base64')),
      )
    default:
      return false
  }
}

/**
 * A key that proves who a client is signs nothing else: whoever had proofs of it made could not be told from the client
 * (T160).
 */
export function refuseKeyOf(certificate: X509Certificate | undefined, jkt: string | undefined): void {
  if (certificate === undefined || jkt === undefined) return
  if (thumbprintOf(certificate) === jkt)
    throw new errors.InvalidDpopProof('the key of the proof is that of the certificate')
}

/** None for a key of a kind that no proof is made with. */
function thumbprintOf({ publicKey }: X509Certificate): string | undefined {
  try {
    return thumbprint(publicKey.export({ format: 'jwk' }) as PublicJwk)
  } catch {
    return undefined
  }
}

/** For a listener that asks for certificates, and takes clients without one too. Throws where files do not belong together. */
export function mutualTlsOptions(config: NonNullable<IssuerConfig['mutual_tls']>): ServerOptions {
  const { key, cert, client_ca, crl } = config
  const options = {
    key: readFileSync(key),
    cert: readFileSync(cert),
    // Left out, Node would take whoever browsers trust.
    ca: client_ca === undefined ? [] : readFileSync(client_ca),
    ...(crl !== undefined && { crl: readFileSync(crl) }),
    minVersion: 'TLSv1.3',
    // A resumed session would bring the certificate of its first day, whatever has been revoked since.
    secureOptions: constants.SSL_OP_NO_TICKET,
  } as const
  createSecureContext(options)
  return { ...options, requestCert: true, rejectUnauthorized: false }
}

type Show = (request: IncomingMessage) => X509Certificate | undefined

const shownOnConnection: Show = ({ socket }) =>
  socket instanceof TLSSocket ? socket.getPeerX509Certificate() : undefined

function shownToProxy(wanted: NonNullable<IssuerConfig['client_certificate']>): Show {
  const read = certificateReader(wanted)
  return ({ rawHeaders, socket }) => {
    const seen = read({ rawHeaders, peer: socket.remoteAddress })
    return seen === undefined || seen === 'malformed' || seen.der === undefined
      ? undefined
      : new X509Certificate(seen.der)
  }
}

function readAuthorities(file: string | undefined): readonly X509Certificate[] {
  if (file === undefined) return []
  const authorities = (readFileSync(file, 'utf8').match(pem) ?? []).map((text) => new X509Certificate(text))
  if (authorities.length === 0 || !authorities.every(({ ca }) => ca))
    throw new Error(`client_ca: ${file} holds something else than certificates of authorities`)
  return authorities
}

const pem = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g

function isInTime({ validFromDate, validToDate }: X509Certificate): boolean {
  const now = Date.now()
  return validFromDate.getTime() <= now && now <= validToDate.getTime()
}

/** Each authority is trusted by itself, so there is no chain to build. */
function hasSigned(authority: X509Certificate, certificate: X509Certificate): boolean {
  return (
    isInTime(authority) &&
    !/sha1|md\d/i.test(certificate.signatureAlgorithm ?? 'sha1') &&
    certificate.checkIssued(authority) &&
    certificate.verify(authority.publicKey)
  )
}

/** RFC 5280, section 4.2.1.12: one that is made for servers is no client's. */
function isForClients({ keyUsage: purposes }: X509Certificate): boolean {
  return purposes === undefined || purposes.includes(CLIENT_AUTHENTICATION)
}

const CLIENT_AUTHENTICATION = '1.3.6.1.5.5.7.3.2'
