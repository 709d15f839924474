/**
 * The clients and people that an operator hands to an issuer in a file, brought into the database at each start.
 * @module
 */

import { isCertificateMethod } from './certificate.ts'
import type { SeedClient, SeedPerson } from './config.ts'
import type { People } from './people.ts'
import { type ClientRecord, hashSecret } from './provider.ts'
import type { Database } from './schema.ts'

/** Clients become what the file says; people are added and then left alone. */
export async function plantSeed(
  database: Database,
  tenant: string,
  people: People,
  seed: { readonly clients: readonly SeedClient[]; readonly people: readonly SeedPerson[] },
): Promise<void> {
  for (const client of seed.clients) {
    if (client.tenants !== undefined && !client.tenants.includes(tenant)) continue
    const { secretSha256, ...metadata } = describeClient(client)
    const row = { secret_sha256: secretSha256 ?? '', metadata: JSON.stringify(metadata) }
    await database
      .insertInto('client')
      .values({ tenant, client_id: client.client_id, ...row })
      .onConflict((conflict) => conflict.columns(['tenant', 'client_id']).doUpdateSet(row))
      .execute()
  }
  await Promise.all(seed.people.filter((person) => person.tenant === tenant).map(people.add))
}

export async function loadClients(database: Database, tenant: string): Promise<readonly ClientRecord[]> {
  const rows = await database.selectFrom('client').where('tenant', '=', tenant).selectAll().execute()
  return rows.map(({ secret_sha256, metadata }) => ({
    ...(JSON.parse(metadata) as Omit<ClientRecord, 'secretSha256'>),
    secretSha256: secret_sha256 || undefined,
  }))
}

function describeClient(client: SeedClient): ClientRecord {
  const { client_id, client_secret, audiences, third_party, tenants: _, ...metadata } = client
  const isBound = isCertificateMethod(client.token_endpoint_auth_method) && !client.dpop_bound_access_tokens
  const code = client.grant_types.includes('authorization_code')
  return {
    clientId: client_id,
    secretSha256: client_secret === undefined ? undefined : hashSecret(client_secret),
    audiences,
    thirdParty: third_party,
    metadata: {
      ...metadata,
      client_id,
      ...(isBound && { tls_client_certificate_bound_access_tokens: true }),
      ...(client.tls_client_certificate_bound_access_tokens !== undefined && {
        tls_client_certificate_bound_access_tokens: client.tls_client_certificate_bound_access_tokens,
      }),
      // oidc-provider wants one to be there; it is compared with the hash, by us.
      ...(client_secret !== undefined && { client_secret: 'kept as a hash' }),
      response_types: code ? ['code'] : [],
      ...(client.backchannel_logout_uri !== undefined && { backchannel_logout_session_required: true }),
    },
  }
}
