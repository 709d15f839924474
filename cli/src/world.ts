/**
 * The sample world that `countersign up` sets up: two realms, three tenants, people, clients and mail, enough to try
 * every flow. Names are fixed; each secret is made for this data folder.
 * @module
 */

import { randomBytes } from 'node:crypto'

export const audiences = {
  mail: 'https://mail.countersign.example',
  calendar: 'https://calendar.countersign.example',
} as const

export interface Tenant {
  readonly id: string
  readonly name: string
}

export interface Client {
  readonly client_id: string
  readonly client_secret: string
  readonly redirect_uris: readonly string[]
  readonly grant_types: readonly string[]
  readonly post_logout_redirect_uris?: readonly string[]
}

export interface Person {
  readonly username: string
  readonly password: string
  readonly tenant: string
  readonly totp_secret?: string
}

export const tenants: Readonly<Record<string, readonly Tenant[]>> = {
  consumer: [{ id: '11111111-1111-4111-8111-111111111111', name: 'Personal accounts' }],
  enterprise: [
    { id: '22222222-2222-4222-8222-222222222222', name: 'Fabrikam' },
    { id: '33333333-3333-4333-8333-333333333333', name: 'Northwind' },
  ],
}

const tokenExchange = 'urn:ietf:params:oauth:grant-type:token-exchange'

/** The clients of a realm: a web application, a service and one that exchanges tokens. */
export function sampleClients(realm: string, callback: string): Client[] {
  const client = (
    name: string,
    grant_types: readonly string[],
    redirect_uris: readonly string[] = [],
  ): Client => ({
    client_id: `${realm}-${name}`,
    client_secret: secret(),
    redirect_uris,
    grant_types,
    ...(redirect_uris.length > 0 && { post_logout_redirect_uris: [new URL('/', callback).href] }),
  })
  return [
    client('web', ['authorization_code', 'refresh_token'], [callback]),
    client('service', ['client_credentials']),
    client('exchanger', [tokenExchange, 'client_credentials']),
  ]
}

/** Two people per tenant; in the enterprise realm each with a second factor. */
export function samplePeople(realm: string): Person[] {
  const names: Readonly<Record<string, readonly string[]>> = {
    [tenants['consumer']?.[0]?.id ?? '']: ['ada@home.example', 'ben@home.example'],
    [tenants['enterprise']?.[0]?.id ?? '']: ['carla@fabrikam.example', 'dan@fabrikam.example'],
    [tenants['enterprise']?.[1]?.id ?? '']: ['eve@northwind.example', 'finn@northwind.example'],
  }
  return (tenants[realm] ?? []).flatMap((tenant) =>
    (names[tenant.id] ?? []).map((username) => ({
      username,
      password: secret(),
      tenant: tenant.id,
      ...(realm === 'enterprise' && { totp_secret: base32(randomBytes(20)) }),
    })),
  )
}

/** Random enough that nobody guesses it, short enough to type: 128 bit. */
export function secret(): string {
  return randomBytes(16).toString('base64url')
}

/** RFC 4648 section 6, the form in which authenticator apps take a TOTP secret. */
function base32(bytes: Uint8Array): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'
  const bits = [...bytes].map((byte) => byte.toString(2).padStart(8, '0')).join('')
  return (bits.match(/.{5}/g) ?? []).map((five) => alphabet[Number.parseInt(five, 2)]).join('')
}
