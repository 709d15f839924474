/**
 * The validator of 2023, as the drill's control: one merged set of keys, only the signature checked, keys cached and
 * never dropped, and the header believed. Each attack is shown to work here first. Never import this elsewhere.
 * @module
 */

import { createHmac, createPublicKey, type KeyObject, timingSafeEqual, verify } from 'node:crypto'
import type { JWK } from 'jose'

export type Claims = Readonly<Record<string, unknown>>

interface Header {
  readonly alg?: string
  readonly kid?: string
  readonly jwk?: JWK
  readonly jku?: string
}

export interface NaiveValidator {
  /** Adds what each URL serves to the keys known already. */
  refresh(): Promise<void>
  /** The claims of a token whose signature verifies, or undefined. */
  accept(token: string): Promise<Claims | undefined>
  /** The renewal endpoint of F3: whatever it accepts, it signs again, with a new end. */
  renews(token: string): Promise<boolean>
  /** The actor tokens of F14: an unsigned token counts as what it says when a signed one rides inside. */
  acceptActor(token: string): Promise<Claims | undefined>
}

export function createNaiveValidator(jwksUris: readonly string[]): NaiveValidator {
  const keys = new Map<string, KeyObject>()

  async function keyFor({ kid = '', jwk, jku }: Header): Promise<KeyObject | undefined> {
    if (jwk !== undefined) return createPublicKey({ key: jwk, format: 'jwk' })
    if (jku !== undefined) return (await fetchKeys(jku)).get(kid)
    // A path, a query, a prefix: whatever the header says is looked for as it stands.
    return keys.get(kid) ?? keys.get(kid.split(/[^\w-]/)[0] ?? '')
  }

  async function accept(token: string): Promise<Claims | undefined> {
    const [header = '', payload = '', signature = ''] = token.split('.')
    const { alg, ...rest } = read<Header>(header)
    const claims = read<Claims>(payload)
    if (alg?.toLowerCase() === 'none') return claims
    const key = await keyFor(rest)
    if (key === undefined) return undefined
    const input = Buffer.from(`${header}.${payload}`)
    const given = Buffer.from(signature, 'base64url')
    if (alg === 'HS256') {
      const mac = createHmac('sha256', key.export({ type: 'spki', format: 'pem' }))
        .update(input)
        .digest()
      return mac.length === given.length && timingSafeEqual(mac, given) ? claims : undefined
    }
    return verify('sha256', input, { key, dsaEncoding: 'ieee-p1363' }, given) ? claims : undefined
  }

  return {
    accept,
    refresh: async () => {
      for (const uri of jwksUris) for (const [kid, key] of await fetchKeys(uri)) keys.set(kid, key)
    },
    renews: async (token) => (await accept(token)) !== undefined,
    acceptActor: async (token) => {
      const claims = read<Claims>(token.split('.')[1] ?? '')
      const { actortoken } = claims
      return typeof actortoken === 'string' && (await accept(actortoken)) !== undefined ? claims : undefined
    },
  }
}

async function fetchKeys(uri: string): Promise<Map<string, KeyObject>> {
  const { keys } = (await (await fetch(uri)).json()) as { keys: (JWK & { kid: string })[] }
  return new Map(keys.map((jwk) => [jwk.kid, createPublicKey({ key: jwk, format: 'jwk' })]))
}

function read<Content>(segment: string): Content {
  return JSON.parse(Buffer.from(segment, 'base64url').toString())
}
