/**
 * Passkeys: one is made for an operator, and one signs a document. WebAuthn Level 3; what a validator asks of an
 * assertion stands in spec/charter.md, section 1.
 * @module
 */

import { encode, utf8 } from './base64url.js'
import { algorithmOf, sha256, thumbprint } from './document.js'

/** @typedef {import('./document.js').Jwk} Jwk */

/**
 * An operator as a charter has one.
 * @typedef {object} Operator
 * @property {string} id
 * @property {Jwk} jwk
 * @property {{ rp_id: string, origins: readonly string[] }} [webauthn]
 */

/**
 * A signature line of a document, by a passkey.
 * @typedef {object} SignatureLine
 * @property {string} protected
 * @property {string} signature
 * @property {{ authenticator_data: string, client_data: string }} header
 */

/** The passkey that answered is somebody else's. */
export class OtherPasskey extends Error {
  /** @param {string} owner */
  constructor(owner) {
    super(`the passkey is that of ${owner}`)
    this.owner = owner
  }
}

const ALGORITHMS = /** @type {const} */ ({ ES256: -7, EdDSA: -8 })

/**
 * Signs a payload segment: the challenge is the hash of what a key file would sign. Which passkey answers is left to the
 * browser, since the authority keeps no list of them; whose it is, it says itself.
 * @param {string} segment
 * @param {'charter+jwt' | 'approval+jwt'} type
 * @param {Operator} operator
 * @returns {Promise<SignatureLine>}
 */
export async function signWithPasskey(segment, type, { id, jwk, webauthn }) {
  const header = { alg: algorithmOf(jwk), typ: type, kid: await thumbprint(jwk) }
  const protectedHeader = encode(utf8(JSON.stringify(header)))
  const challenge = await sha256(utf8(`${protectedHeader}.${segment}`))
  const credential = await navigator.credentials.get({
    publicKey: {
      challenge,
      ...(webauthn && { rpId: webauthn.rp_id }),
      userVerification: 'required',
      allowCredentials: [],
    },
  })
  const response = /** @type {AuthenticatorAssertionResponse} */ (
    /** @type {PublicKeyCredential} */ (credential).response
  )
  const owner = response.userHandle === null ? id : new TextDecoder().decode(response.userHandle)
  if (owner !== id) throw new OtherPasskey(owner)
  return {
    protected: protectedHeader,
    signature: encode(response.signature),
    header: {
      authenticator_data: encode(response.authenticatorData),
      client_data: encode(response.clientDataJSON),
    },
  }
}

/**
 * Makes a passkey for an operator, and gives what a charter says of them. Its device keeps it; nothing is sent.
 * @param {string} id of the operator
 * @returns {Promise<Operator>}
 */
export async function makePasskey(id) {
  const credential = await navigator.credentials.create({
    publicKey: {
      rp: { id: location.hostname, name: 'Countersign' },
      user: { id: utf8(id), name: id, displayName: `${id}, operator` },
      // Nobody checks an answer to it: what counts of a new passkey is its public key, which two people look at.
      challenge: crypto.getRandomValues(new Uint8Array(32)),
      pubKeyCredParams: Object.values(ALGORITHMS).map((alg) => ({ type: 'public-key', alg })),
      authenticatorSelection: {
        residentKey: 'required',
        requireResidentKey: true,
        userVerification: 'required',
      },
      attestation: 'none',
    },
  })
  const response = /** @type {AuthenticatorAttestationResponse} */ (
    /** @type {PublicKeyCredential} */ (credential).response
  )
  const jwk = await readPublicKey(response)
  return { id, jwk, webauthn: { rp_id: location.hostname, origins: [location.origin] } }
}

/**
 * @param {AuthenticatorAttestationResponse} response
 * @returns {Promise<Jwk>}
 */
async function readPublicKey(response) {
  const spki = response.getPublicKey()
  if (spki === null) throw new Error('the browser does not know this kind of key')
  const kind =
    response.getPublicKeyAlgorithm() === ALGORITHMS.ES256
      ? { name: 'ECDSA', namedCurve: 'P-256' }
      : { name: 'Ed25519' }
  const key = await crypto.subtle.importKey('spki', spki, kind, true, ['verify'])
  const { kty = '', crv = '', x = '', y } = await crypto.subtle.exportKey('jwk', key)
  return { kty, crv, x, ...(y !== undefined && { y }) }
}

/**
 * Why no passkey came, in words.
 * @param {unknown} error
 */
export function problemOf(error) {
  if (error instanceof OtherPasskey) {
    return `The passkey that answered is that of ${error.owner}. Choose their name, or another passkey.`
  }
  switch (error instanceof DOMException ? error.name : '') {
    case 'NotAllowedError':
      return 'No passkey answered. It was cancelled, took too long, did not check who you are, or there is none for this address on this device.'
    case 'SecurityError':
      return 'The browser gives no passkey to a page at this address.'
    case 'InvalidStateError':
      return 'This device has such a passkey already.'
    case 'NotSupportedError':
      return 'This device makes no passkey of the kind that is needed: kept on the device, with a check of who you are.'
    default:
      return `The browser made no passkey work: ${error instanceof Error ? error.message : String(error)}`
  }
}

/** Why passkeys do not work at the address of this page; undefined when they do. */
export function obstacle() {
  if (!isSecureContext || !('PublicKeyCredential' in globalThis)) {
    return 'Passkeys need a page over HTTPS, or at localhost.'
  }
  // An address in digits cannot have passkeys: they are made for a name.
  if (/^[\d.]+$|:/.test(location.hostname))
    return 'Passkeys are made for a name, and this page has an address in digits.'
  return undefined
}

/** The same page under a name, where it is this very machine; undefined where nobody here can know the name. */
export function namedAddress() {
  const url = new URL(location.href)
  if (!/^(127\.\d+\.\d+\.\d+|\[::1\])$/.test(url.hostname)) return undefined
  url.hostname = 'localhost'
  return url.href
}
