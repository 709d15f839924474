/**
 * The ready file: where everything is once it answers, who may sign in, and which files an operator needs. Scripts
 * read it, so members are added and never renamed. It holds secrets.
 * @module
 */

import { join } from 'node:path'
import { operatorKeyFiles } from './ceremony.ts'
import type { Wishes } from './config.ts'
import { readJson } from './files.ts'
import { keystoresOf } from './keystores.ts'
import type { Layout } from './layout.ts'
import { audiences, hasSecret, type Realm, type Seed, type World } from './world.ts'

export function describeSystem(
  layout: Layout,
  { tenants, elsewhere }: World,
  seeds: Readonly<Record<Realm, Seed>>,
  { gateway }: Wishes,
) {
  const { urls, issuers } = layout
  const newest = (realm: string): string => keystoresOf(layout.data, realm).at(-1)?.keystore ?? ''
  const keystores: Readonly<Record<Realm, string> & Record<string, string>> = {
    ...Object.fromEntries(Object.keys(elsewhere).map((realm) => [realm, newest(realm)])),
    consumer: newest('consumer'),
    enterprise: newest('enterprise'),
  }
  const witness = readJson<{ name: string; vkey: string }>(join(layout.data, 'witness.json'))
  return {
    realms: {
      consumer: {
        issuer: issuers.consumer,
        jwks_uri: `${issuers.consumer}/jwks`,
        ...tellable(seeds.consumer),
      },
      enterprise: {
        issuers: tenants.enterprise.map(({ id }) => {
          const issuer = issuers.enterprise.replace('{tenantid}', id)
          return { tenant: id, issuer, jwks_uri: `${issuer}/jwks` }
        }),
        ...tellable(seeds.enterprise),
      },
    },
    elsewhere: Object.fromEntries(
      Object.entries(elsewhere).map(([realm, { issuer }]) => [
        realm,
        { issuer, broker_socket: layout.socket(`broker-${realm}`) },
      ]),
    ),
    authority: {
      url: urls.authority,
      manifest: `${urls.authority}/manifest`,
      charter: `${urls.authority}/charter`,
      stream: `${urls.authority}/stream`,
      operators: operatorKeyFiles(layout.data),
      trust_anchor: layout.trustAnchor,
      enrolment_token: layout.enrolmentToken,
    },
    witness: { url: urls.witness, origin: `${witness.name}/1`, vkey: witness.vkey },
    gateway: { url: urls.gateway, audience: gateway?.audience ?? audiences.mail },
    webmail: { url: urls.webmail, audience: audiences.mail },
    sentinel: { url: urls.sentinel, alerts: `${urls.sentinel}/alerts` },
    keystores,
  }
}

/** What the ready file holds. */
export type System = ReturnType<typeof describeSystem>

/** Of a client with a certificate there is nothing to tell: its key is somebody else's. */
function tellable({ clients, people }: Seed) {
  return { clients: clients.filter(hasSecret), people }
}
