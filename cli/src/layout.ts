/**
 * The whole system on one machine: each service's configuration, written out before anything starts, so that what
 * runs can be read in `DIR/config` and any service can be started by hand with the same file.
 * @module
 */

import { randomBytes, randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { keepPrivate, writePrivate } from './files.ts'
import { sampleMail } from './mail.ts'
import type { Ports } from './ports.ts'
import { audiences, type Client, type Person, sampleClients, samplePeople, secret, tenants } from './world.ts'

/** `sun_path` holds 108 bytes on Linux, 104 elsewhere, the final zero included. */
const SOCKET_PATH_BYTES_MAX = 103

export const realms = ['consumer', 'enterprise'] as const
export type Realm = (typeof realms)[number]

/** What is trusted to acknowledge manifests: every process that decides by them. */
export const validators = ['witness', 'broker', 'consumer', 'enterprise', 'gateway', 'webmail'] as const

export interface Seed {
  readonly clients: readonly Client[]
  readonly people: readonly (Person & { readonly sub: string })[]
}

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
    keystores: {
      consumer: join(data, 'signers', 'consumer', 'keystore.age'),
      enterprise: join(data, 'signers', 'enterprise', 'keystore.age'),
    },
    enrolmentKey: (name: string): string => join(data, 'secrets', `enrolment-${name}.json`),
    configFile: (name: string): string => join(data, 'config', `${name}.json`),
    socket: (name: string): string => join(data, 'run', `${name}.sock`),
  }
}

export type Layout = ReturnType<typeof layOut>

/** The sample people and clients of a realm: made at the first start and then kept. */
export function keepSeed(layout: Layout, realm: Realm): Seed {
  return keepPrivate(seedFile(layout, realm), () => ({
    clients: sampleClients(realm, `${layout.urls.webmail}/callback`),
    people: samplePeople(realm).map((person) => ({ ...person, sub: randomUUID() })),
  }))
}

/** Writes the configuration of every service. Throws when a socket's path would be too long to open. */
export function writeConfigs(layout: Layout): void {
  const { data, ports, urls, socket, trustAnchor, enrolmentKey } = layout
  const longest = socket('broker-enterprise')
  if (Buffer.byteLength(longest) > SOCKET_PATH_BYTES_MAX) {
    throw new Error(
      `${data} is too deep: the socket ${longest} would pass ${SOCKET_PATH_BYTES_MAX} bytes; choose a shorter --data`,
    )
  }
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
  write('authority', {
    data: join(data, 'authority'),
    listen: { port: ports.authority },
    trust_anchor: trustAnchor,
    charter: join(data, 'charters', '1.json'),
    broker_socket: socket('broker-admin'),
    witness_socket: socket('witness'),
    enrolment_token: layout.enrolmentToken,
  })
  write('broker', {
    realms: Object.fromEntries(
      realms.map((realm) => [
        realm,
        {
          socket: socket(`broker-${realm}`),
          keystore: layout.keystores[realm],
          passphrase_file: join(data, 'signers', realm, 'passphrase'),
        },
      ]),
    ),
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
      second_factor_required: realm === 'enterprise',
      database: join(data, 'issuers', realm, 'issuer.sqlite'),
      broker_socket: socket(`broker-${realm}`),
      secrets,
      seed: seedFile(layout, realm),
      state: join(data, 'issuers', realm),
      resources: Object.values(audiences).map((audience) => ({ audience, scopes: ['read', 'write'] })),
      sentinel: urls.sentinel,
      ...trust,
      ...enrolment(realm),
    })
  }
  const protectedService = (name: 'gateway' | 'webmail'): object => ({
    listen: { port: ports[name] },
    realms,
    audience: audiences.mail,
    state: join(data, name),
    sentinel: urls.sentinel,
    ...trust,
    ...enrolment(name),
  })
  write('gateway', protectedService('gateway'))
  const mailboxes = join(data, 'webmail', 'mailboxes.json')
  keepPrivate(mailboxes, () =>
    sampleMail(
      realms.flatMap((realm) =>
        keepSeed(layout, realm).people.map((person) => ({
          ...person,
          issuer: layout.issuers[realm].replace('{tenantid}', person.tenant),
        })),
      ),
    ),
  )
  write('webmail', { ...protectedService('webmail'), mailboxes })
  write('sentinel', {
    data: join(data, 'sentinel'),
    listen: { port: ports.sentinel },
    witness: urls.witness,
    broker_socket: socket('broker-admin'),
    block_key: join(data, 'sentinel', 'block-key.json'),
    policy: {
      auto_block: [
        'receipt_missing',
        'receipt_invalid',
        'key_out_of_scope',
        'issuer_mismatch',
        'tenant_mismatch',
        'lifetime_too_long',
        'key_not_active',
        'entry_missing',
        'entry_differs',
      ],
      silent_seconds: 60,
    },
    ...trust,
  })
}

function seedFile(layout: Layout, realm: Realm): string {
  return join(layout.data, 'secrets', `seed-${realm}.json`)
}
