/**
 * The certificate that a client has shown to the proxy in front (RFC 8705). The proxy asked for it, and so has made sure that
 * the client has its key; nothing else in it counts.
 * @module
 */

import { X509Certificate } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { certificateReader } from '@countersign/validator/mtls'
import type { IssuerConfig } from './config.ts'

export type CertificateOf = (request: IncomingMessage) => X509Certificate | undefined

/** We listen on loopback, so whoever asks from there is the proxy. */
const PEERS = ['127.0.0.1', '::1']

export function createCertificateOf(wanted: NonNullable<IssuerConfig['client_certificate']>): CertificateOf {
  const read = certificateReader({ ...wanted, peers: PEERS })
  return ({ rawHeaders, socket }) => {
    const seen = read({ rawHeaders, peer: socket.remoteAddress })
    return seen === undefined || seen === 'malformed' || seen.der === undefined
      ? undefined
      : new X509Certificate(seen.der)
  }
}
