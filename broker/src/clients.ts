/**
 * Which configured client a certificate belongs to. That the certificate is good (its chain, its dates, that it is not
 * revoked) TLS has seen to; whom it stands for is decided here, by its hash or by one of its names. Pure.
 * @module
 */

import type { X509Certificate } from 'node:crypto'
import type { RemoteClient } from './config.ts'

/** What of a certificate counts here. */
export interface Presented extends Pick<X509Certificate, 'fingerprint256' | 'subjectAltName'> {
  /** Fingerprints of those that vouch for it, up to the root; none where it vouches for itself. */
  readonly authorities: readonly string[]
}

/**
 * The one client that it belongs to. None for a certificate that nobody configured, or that could be two clients'. A client
 * that signs its own certificate stands among the authorities with it, and could sign others' there too: so what its certificate
 * vouches for is nobody, and it is known by its hash alone.
 */
export function findClient<Client extends Pick<RemoteClient, 'certificate'>>(
  clients: readonly Client[],
  presented: Presented,
): Client | undefined {
  const sha256 = hashOf(presented.fingerprint256)
  const authorities = presented.authorities.map(hashOf)
  const isVouchedForByClient = clients.some(
    ({ certificate }) => 'sha256' in certificate && authorities.includes(certificate.sha256),
  )
  if (isVouchedForByClient) return undefined
  const names = authorities.length === 0 ? [] : readNames(presented.subjectAltName)
  const uris = names.filter((name) => name.startsWith('URI:'))
  const matching = clients.filter(({ certificate }) => {
    if ('sha256' in certificate) return certificate.sha256 === sha256
    if ('dns' in certificate) return names.includes(`DNS:${certificate.dns}`)
    // A SPIFFE ID is the only URI of its certificate (X509-SVID, section 2).
    return uris.length === 1 && uris[0] === `URI:${certificate.uri}`
  })
  return matching.length === 1 ? matching[0] : undefined
}

/** As the configuration has it. */
function hashOf(fingerprint: string): string {
  return fingerprint.replaceAll(':', '').toLowerCase()
}

/**
 * The names as Node writes them: `DNS:a.example, URI:"what is odd, quoted"`. A quoted one stays quoted and is no name that
 * anybody configured, so that a comma inside it begins no other.
 */
function readNames(subjectAltName: string | undefined): readonly string[] {
  return [...(subjectAltName ?? '').matchAll(/(?:[^,"]|"(?:[^"\\]|\\.)*")+/g)].map(([name]) => name.trim())
}
