/**
 * The whole system on one machine: each service's configuration, written out before anything starts, so that what
 * runs can be read in `DIR/config` and any service can be started by hand with the same file.
 * @module
 */

import { createHash, randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Probe } from '@countersign/authority/client'
import type { Wishes } from './config.ts'
import { keepPrivate, readJson, writePrivate } from './files.ts'
import { keystoresOf } from './keystores.ts'
import { sampleMail } from './mail.ts'
import type { Ports } from './ports.ts'
import {
  audiences,
  hasSecret,
  needsSecondFactor,
  plantSeed,
  type Realm,
  realms,
  type Seed,
  secret,
  type World,
} from './world.ts'

/** `sun_path` holds 108 bytes on Linux, 104 elsewhere, the final zero included. */
const SOCKET_PATH_BYTES_MAX = 103

/** What is trusted to acknowledge manifests: every process that decides by them. */
export const validators = ['witness', 'broker', 'consumer', 'enterprise', 'gateway', 'webmail'] as const

/** Findings that the sample's sentinel answers by itself: what only somebody who holds a stolen key can cause. */
const AUTO_BLOCK = [
  'receipt_missing',
  'receipt_invalid',
  'key_out_of_scope',
  'issuer_mismatch',
  'tenant_mismatch',
] as const
const SILENT_SECONDS = 60

/** Without it, tokens of the enterprise realm pass only with a proof that they are the sender's. */
const BEARER_ALLOWED = 'the sample is tried out by hand, with tokens that anybody can copy'

/** Where everything of one data folder is. Pure: nothing is read or written. */
export function layOut(data: string, ports: Ports) {
  const url = (listener: keyof Ports): string => `http://localhost:${ports[listener]}`
  const issuers = { consumer: url('consumer'), enterprise: `${url('enterprise')}/{tenantid}/v2.0` }
  return {
    data,
    ports,
    issuers,
    urls: {
      authority: url('authority'),
      witness: url('witness'),
      gateway: url('gateway'),
      webmail: url('webmail'),
      sentinel: url('sentinel'),
      consumer: url('consumer'),
      enterprise: url('enterprise'),
    },
    trustAnchor: join(data, 'trust-anchor.json'),
    enrolmentToken: join(data, 'secrets', 'enrolment-token'),
    enrolmentKey: (name: string): string => join(data, 'secrets', `enrolment-${name}.json`),
    configFile: (name: string): string => join(data, 'config', `${name}.json`),
    socket: (name: string): string => join(data, 'run', `${name}.sock`),
  }
}

export type Layout = ReturnType<typeof layOut>

/** Where each service that takes tokens is sent a canary after a kill. */
export function probesOf({ urls }: Layout, { gateway }: Wishes): ReadonlyMap<string, Probe> {
  return new Map([
    ['gateway', { url: `${urls.gateway}/auth`, audience: gateway?.audience ?? audiences.mail }],
    ['webmail', { url: `${urls.webmail}/api/messages`, audience: audiences.mail }],
  ])
}

/** Who may sign in to a realm: made at the first start and then kept, but for what is wished otherwise. */
export function keepSeed(layout: Layout, realm: Realm, wishes: Wishes): Seed {
  const file = seedFile(layout, realm)
  const known = existsSync(file) ? readJson<Seed>(file) : undefined
  const seed = plantSeed(realm, known, wishes.realms?.[realm], {
    callback: `${layout.urls.webmail}/callback`,
    transmitter: `${layout.urls[realm]}/ssf`,
  })
  writePrivate(file, seed)
  return seed
}

/** Throws when a socket's path would be too long to open. */
export function checkDepth({ data, socket }: Layout): void {
  const longest = socket('broker-enterprise')
  if (Buffer.byteLength(longest) <= SOCKET_PATH_BYTES_MAX) return
  throw new Error(
    `${data} is too deep: sockets in it would pass ${SOCKET_PATH_BYTES_MAX} bytes; choose a shorter --data`,
  )
}

/** Writes the configuration of every service. */
export function writeConfigs(
  layout: Layout,
  { tenants, elsewhere }: World,
  seeds: Readonly<Record<Realm, Seed>>,
  { sentinel: { webhook, ...policy } = {}, gateway = {}, remote, realms: wished = {} }: Wishes,
): void {
  const { data, ports, urls, socket, trustAnchor, enrolmentKey } = layout
  const write = (name: string, config: object): void => writePrivate(layout.configFile(name), config)
  const trust = { authority: urls.authority, trust_anchor: trustAnchor }
  const enrolment = (name: string): object => ({ enrolment: { name, key: enrolmentKey(name) } })

  write('witness', {
    data: join(data, 'witness'),
    listen: { port: ports.witness },
    append_socket: socket('witness'),
    charter: join(data, 'charters', '1.json'),
    epoch: '1',
    ...trust,
    ...enrolment('witness'),
  })
  writePrivate(layout.configFile('authority'), authorityConfig(layout))
  write('broker', {
    ...brokerRealms(layout, [...realms, ...Object.keys(elsewhere)]),
    ...brokerRemote(elsewhere, remote),
    admin_socket: socket('broker-admin'),
    witness_socket: socket('witness'),
    ...trust,
    ...enrolment('broker'),
  })
  for (const realm of realms) {
    const secrets = join(data, 'secrets', `issuer-${realm}.json`)
    keepPrivate(secrets, () => ({
      cookie_keys: [secret(), secret()],
      totp_key: randomBytes(32).toString('base64url'),
    }))
    write(realm, {
      realm,
      listen: { port: ports[realm] },
      public_url: urls[realm],
      tenants: tenants[realm],
      second_factor_required: needsSecondFactor[realm],
      database: join(data, 'issuers', realm, 'issuer.sqlite'),
      broker_socket: socket(`broker-${realm}`),
      secrets,
      seed: seedFile(layout, realm),
      state: join(data, 'issuers', realm),
      // A client that names no audience gets the first, which stays what it was.
      resources: [
        ...Object.values(audiences).map((audience) => ({ audience, scopes: ['read', 'write'] })),
        ...(wished[realm]?.resources ?? []),
      ],
      // A sample's receivers are on this machine, like all of it.
      signals: {
        loopback_receivers: true,
        ...(realm === 'enterprise' && { bearer_allowed: BEARER_ALLOWED }),
      },
      sentinel: urls.sentinel,
      client_certificate: wished[realm]?.client_certificate,
      mutual_tls: wished[realm]?.mutual_tls,
      ...trust,
      ...enrolment(realm),
    })
  }
  const protectedService = (name: 'gateway' | 'webmail'): object => ({
    listen: { port: ports[name] },
    realms: name === 'gateway' ? [...realms, ...Object.keys(elsewhere)] : realms,
    audience: audiences.mail,
    state: join(data, name),
    sentinel: urls.sentinel,
    bearer_allowed: BEARER_ALLOWED,
    ...trust,
    ...enrolment(name),
  })
  const introspectionClients = join(data, 'secrets', 'introspection-clients.json')
  writePrivate(introspectionClients, {
    clients: realms.flatMap((realm) => introspectors(seeds[realm], tenants[realm])),
  })
  write('gateway', {
    ...protectedService('gateway'),
    introspection_clients: introspectionClients,
    original_request: { method: 'x-original-method', uri: 'x-original-uri' },
    ...proofsFor(gateway.audience ?? audiences.mail),
    ...gateway,
  })
  const mailboxes = join(data, 'webmail', 'mailboxes.json')
  writePrivate(
    mailboxes,
    sampleMail(
      realms.flatMap((realm) =>
        seeds[realm].people.map((person) => ({
          ...person,
          issuer: layout.issuers[realm].replace('{tenantid}', person.tenant),
        })),
      ),
    ),
  )
  write('webmail', { ...protectedService('webmail'), mailboxes, dpop: { base: [urls.webmail] } })
  write('sentinel', {
    data: join(data, 'sentinel'),
    listen: { port: ports.sentinel },
    witness: urls.witness,
    broker_socket: socket('broker-admin'),
    block_key: join(data, 'sentinel', 'block-key.json'),
    policy: { auto_block: AUTO_BLOCK, silent_seconds: SILENT_SECONDS, ...policy },
    ...(webhook && { webhook }),
    ...trust,
  })
}

/** Clients find the application where its audience says, unless somebody says otherwise, if that is an address at all. */
function proofsFor(audience: string): object {
  return /^https?:/.test(audience) && URL.canParse(audience) ? { dpop: { base: [audience] } } : {}
}

/** The same whatever is wished: the authority has to be asked first whether a wish has been approved. */
export function authorityConfig(layout: Layout): object {
  const { data, ports, socket, trustAnchor } = layout
  return {
    data: join(data, 'authority'),
    listen: { port: ports.authority },
    trust_anchor: trustAnchor,
    charter: join(data, 'charters', '1.json'),
    broker_socket: socket('broker-admin'),
    witness_socket: socket('witness'),
    enrolment_token: layout.enrolmentToken,
  }
}

/** What the broker has for each realm. */
export function brokerRealms(
  { data, socket }: Layout,
  names: readonly string[],
): { readonly realms: object } {
  const realms = names.map((realm) => [
    realm,
    { socket: socket(`broker-${realm}`), keystores: keystoresOf(data, realm) },
  ])
  return { realms: Object.fromEntries(realms) }
}

/** How the broker is reached from elsewhere, if it is. */
export function brokerRemote(
  elsewhere: World['elsewhere'],
  remote: Wishes['remote'],
): { readonly remote?: object } {
  return remote === undefined ? {} : { remote: { ...remote, clients: clientsElsewhere(elsewhere) } }
}

/** The certificate decides the realm, and speaks for its issuer alone. */
function clientsElsewhere(elsewhere: World['elsewhere']): object[] {
  return Object.entries(elsewhere).flatMap(([realm, { issuer, clients }]) =>
    clients.map((client) => ({ ...client, realm, issuers: [issuer] })),
  )
}

function seedFile(layout: Layout, realm: Realm): string {
  return join(layout.data, 'secrets', `seed-${realm}.json`)
}

/** The clients of a realm may ask the gateway about tokens of the realm's tenants, with the secrets that they have. */
function introspectors({ clients }: Seed, tenants: World['tenants'][Realm]): object[] {
  return clients.filter(hasSecret).map(({ client_id, client_secret }) => ({
    client_id,
    secret_sha256: createHash('sha256').update(client_secret).digest('base64url'),
    tenants: tenants.map(({ id }) => id),
  }))
}
