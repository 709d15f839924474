/**
 * The sample world that `countersign up` sets up: two realms, three tenants, people, clients and mail, enough to try
 * every flow. Names are fixed unless a configuration gives others; each secret is made for this data folder.
 * @module
 */

import { randomBytes, randomUUID } from 'node:crypto'
import { CLOCK_DIFFERENCE_SECONDS_MAX } from '@countersign/validator/charter'
import type { ElsewhereWish, RealmWishes, Wishes } from './config.ts'

export const realms = ['consumer', 'enterprise'] as const
export type Realm = (typeof realms)[number]

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
}

/** One that signs in with a certificate. Somebody else has its key, so there is nothing to tell of it. */
export interface CertificateClient extends Omit<Client, 'client_secret'> {
  readonly token_endpoint_auth_method: string
  readonly client_secret?: undefined
}

export function hasSecret(client: Client | CertificateClient): client is Client {
  return client.client_secret !== undefined
}

export interface Person {
  readonly username: string
  readonly password: string
  readonly tenant: string
  readonly sub: string
  readonly totp_secret?: string
}

/** What the first charter allows each realm; the names are the charter's. */
export interface Terms {
  readonly rotation_seconds: number
  readonly key_age_max: number
  readonly max_ttl: number
  readonly overlap_seconds: number
  readonly cache_seconds: number
  readonly acknowledge_seconds: number
}

const DAY_SECONDS = 24 * 3600

/** The terms with what was left out. An overlap follows from how long a token lives, unless a longer one is wanted. */
export function completeTerms(wished: Wishes['charter'] = {}): Terms {
  const max_ttl = wished.max_ttl ?? 3600
  return {
    rotation_seconds: wished.rotation_seconds ?? DAY_SECONDS,
    key_age_max: wished.key_age_max ?? 14 * DAY_SECONDS,
    max_ttl,
    overlap_seconds: wished.overlap_seconds ?? max_ttl + CLOCK_DIFFERENCE_SECONDS_MAX,
    cache_seconds: wished.cache_seconds ?? 600,
    acknowledge_seconds: wished.acknowledge_seconds ?? 60,
  }
}

export interface World {
  readonly terms: Terms
  /** Those of them that somebody wrote. */
  readonly wishedTerms: Readonly<Partial<Record<keyof Terms, number>>>
  readonly tenants: Readonly<Record<Realm, readonly Tenant[]>>
  /** Realms whose issuer somebody else runs; here are its signer and a way to it. */
  readonly elsewhere: Readonly<Record<string, ElsewhereWish>>
}

/** What the operators of the sample approve at the first start; afterwards it stands in the charter. */
export function planWorld({ charter, realms: wished, elsewhere = {} }: Wishes): World {
  const wishedTerms = Object.entries(charter ?? {}).filter(([, seconds]) => seconds !== undefined)
  return {
    terms: completeTerms(charter),
    wishedTerms: Object.fromEntries(wishedTerms),
    elsewhere,
    tenants: {
      consumer: wished?.consumer?.tenants ?? sampleTenants.consumer,
      enterprise: wished?.enterprise?.tenants ?? sampleTenants.enterprise,
    },
  }
}

const personal = { id: '11111111-1111-4111-8111-111111111111', name: 'Personal accounts' }
const fabrikam = { id: '22222222-2222-4222-8222-222222222222', name: 'Fabrikam' }
const northwind = { id: '33333333-3333-4333-8333-333333333333', name: 'Northwind' }

export const sampleTenants: World['tenants'] = { consumer: [personal], enterprise: [fabrikam, northwind] }

const samplePeople: Readonly<Record<Realm, readonly PersonWish[]>> = {
  consumer: [
    { username: 'ada@home.example', tenant: personal.id },
    { username: 'ben@home.example', tenant: personal.id },
  ],
  enterprise: [
    { username: 'carla@fabrikam.example', tenant: fabrikam.id },
    { username: 'dan@fabrikam.example', tenant: fabrikam.id },
    { username: 'eve@northwind.example', tenant: northwind.id },
    { username: 'finn@northwind.example', tenant: northwind.id },
  ],
}

/** Who may sign in to a realm, and by which clients. */
export interface Seed {
  readonly clients: readonly (Client | CertificateClient)[]
  readonly people: readonly Person[]
}

/**
 * The clients and people of a realm: those wished for, or else those known already, or else the sample's. Whoever was
 * known before keeps the secrets that were made for them.
 */
export function plantSeed(
  realm: Realm,
  known: Seed | undefined,
  wished: RealmWishes | undefined,
  addresses: Addresses,
): Seed {
  const clients = wished?.clients ?? known?.clients ?? sampleClients(realm, addresses)
  const people = wished?.people ?? known?.people ?? samplePeople[realm]
  return {
    clients: clients.map((client) => {
      const before = known?.clients.find(({ client_id }) => client_id === client.client_id)
      const { client_secret = before?.client_secret ?? secret(), ...others } = client
      const named = { ...others, redirect_uris: client.redirect_uris ?? [] }
      const method = 'token_endpoint_auth_method' in client ? client.token_endpoint_auth_method : undefined
      return method === undefined
        ? { ...named, client_secret }
        : { ...named, token_endpoint_auth_method: method }
    }),
    people: people.map(({ sub, password, totp_secret, ...person }: PersonWish) => {
      const before = known?.people.find(
        ({ username, tenant }) => username === person.username && tenant === person.tenant,
      )
      const totp = totp_secret ?? before?.totp_secret ?? (needsSecondFactor[realm] ? totpSecret() : undefined)
      return {
        ...person,
        sub: sub ?? before?.sub ?? randomUUID(),
        password: password ?? before?.password ?? secret(),
        ...(totp !== undefined && { totp_secret: totp }),
      }
    }),
  }
}

type PersonWish = NonNullable<RealmWishes['people']>[number]

/** Whether nobody signs in there with a password alone. */
export const needsSecondFactor: Readonly<Record<Realm, boolean>> = { consumer: false, enterprise: true }

/** What the sample's clients are given: where the web application is, and the audience of whoever receives signals. */
export interface Addresses {
  readonly callback: string
  readonly transmitter: string
}

/** The clients of a realm: a web application, a service, one that exchanges tokens and one that receives signals. */
function sampleClients(
  realm: Realm,
  { callback, transmitter }: Addresses,
): NonNullable<RealmWishes['clients']> {
  const exchange = 'urn:ietf:params:oauth:grant-type:token-exchange'
  return [
    {
      client_id: `${realm}-web`,
      redirect_uris: [callback],
      grant_types: ['authorization_code', 'refresh_token'],
      post_logout_redirect_uris: [new URL('/', callback).href],
    },
    { client_id: `${realm}-service`, redirect_uris: [], grant_types: ['client_credentials'] },
    { client_id: `${realm}-exchanger`, redirect_uris: [], grant_types: [exchange, 'client_credentials'] },
    {
      client_id: `${realm}-receiver`,
      redirect_uris: [],
      grant_types: ['client_credentials'],
      audiences: [transmitter],
    },
  ]
}

/** Random enough that nobody guesses it, short enough to type: 128 bit. */
export function secret(): string {
  return randomBytes(16).toString('base64url')
}

/** 160 bits in base32 (RFC 4648 section 6), the form in which authenticator apps take them. */
function totpSecret(): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'
  const bits = [...randomBytes(20)].map((byte) => byte.toString(2).padStart(8, '0')).join('')
  return (bits.match(/.{5}/g) ?? []).map((five) => alphabet[Number.parseInt(five, 2)]).join('')
}
