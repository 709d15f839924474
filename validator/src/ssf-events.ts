/**
 * The events that are told of between a transmitter and a receiver, by their URIs. Those of OpenID SSF 1.0 speak about a
 * stream, those of CAEP 1.0 about people and sessions; one is our own, since no standard has an event for a signing key.
 * Meaning and members of each: docs/signals.md.
 * @module
 */

const ssf = 'https://schemas.openid.net/secevent/ssf/event-type'
const caep = 'https://schemas.openid.net/secevent/caep/event-type'

export const eventTypes = {
  verification: `${ssf}/verification`,
  streamUpdated: `${ssf}/stream-updated`,
  sessionRevoked: `${caep}/session-revoked`,
  credentialChange: `${caep}/credential-change`,
  tokenClaimsChange: `${caep}/token-claims-change`,
  keyRevoked: 'https://countersign.example/secevent/event-type/key-revoked',
} as const

/** RFC 9278: a key as a URI, named by its thumbprint, which our `kid` is. */
export const THUMBPRINT_URI = 'urn:ietf:params:oauth:jwk-thumbprint:sha-256:'

export const deliveryMethods = { push: 'urn:ietf:rfc:8935', poll: 'urn:ietf:rfc:8936' } as const

export const SET_MEDIA_TYPE = 'application/secevent+jwt'
