/**
 * Goal: a slip in a file stops the issuer instead of opening it (T239). Method: a good file of each kind, with one
 * thing wrong at a time.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { configSchema, secretsSchema, seedSchema } from './config.ts'

const tenant = '11111111-1111-4111-8111-111111111111'

const config = {
  realm: 'consumer',
  listen: { port: 0 },
  public_url: 'https://login.example',
  tenants: [{ id: tenant, name: 'Home' }],
  second_factor_required: true,
  database: 'issuer.sqlite',
  broker_socket: 'broker.sock',
  authority: 'http://localhost:1',
  trust_anchor: 'trust-anchor.json',
  enrolment: { name: 'consumer', key: 'key.json' },
  secrets: 'secrets.json',
  seed: 'seed.json',
  state: '.',
  resources: [{ audience: 'https://mail.example', scopes: ['read'] }],
}

const client = {
  client_id: 'web',
  client_secret: 's'.repeat(22),
  redirect_uris: ['https://app.example/callback'],
  grant_types: ['authorization_code'],
}
const person = { tenant, username: 'ada', password: 'long enough' }

test('T239 the configuration: nothing that decides trust may be missing, misspelt or empty', () => {
  assert.ok(configSchema.safeParse(config).success)
  for (const member of Object.keys(config)) {
    assert.ok(!configSchema.safeParse({ ...config, [member]: undefined }).success, `without ${member}`)
  }
  for (const wrong of [
    { second_factor_require: true },
    { second_factor_required: 'yes' },
    { public_url: 'https://login.example/' },
    { public_url: 'javascript:alert(1)' },
    { tenants: [] },
    { tenants: [{ id: 'common', name: 'Everybody' }] },
    { resources: [] },
    { resources: [{ audience: '*', scopes: [] }] },
  ]) {
    assert.ok(!configSchema.safeParse({ ...config, ...wrong }).success, JSON.stringify(wrong))
  }
})

test('T239 the secrets: short ones are refused', () => {
  const secrets = { cookie_keys: ['k'.repeat(22)], totp_key: 'k'.repeat(43) }
  assert.ok(secretsSchema.safeParse(secrets).success)
  for (const wrong of [
    { cookie_keys: [] },
    { cookie_keys: ['short'] },
    { totp_key: 'short' },
    { jwks: {} },
  ]) {
    assert.ok(!secretsSchema.safeParse({ ...secrets, ...wrong }).success, JSON.stringify(wrong))
  }
})

test('T168 T172 T239 T075 the seed: no other grant, no address that would be fetched, no guessable secret', () => {
  const parses = (clientChange: object, personChange: object = {}): boolean =>
    seedSchema.safeParse({
      clients: [{ ...client, ...clientChange }],
      people: [{ ...person, ...personChange }],
    }).success
  assert.ok(parses({}))
  for (const wrong of [
    { grant_types: ['implicit'] },
    { grant_types: ['password'] },
    { grant_types: [] },
    { client_secret: 'secret' },
    { client_secret: undefined },
    { token_endpoint_auth_method: 'none' },
    { jwks_uri: 'http://169.254.169.254/' },
    { sector_identifier_uri: 'https://evil.example/' },
    { logo_uri: 'https://evil.example/' },
    // The form of a person's `sub`.
    { client_id: tenant },
    { client_id: '' },
    { tenant: [tenant] },
  ]) {
    assert.ok(!parses(wrong), JSON.stringify(wrong))
  }
  for (const wrong of [{ password: 'short' }, { sub: 'ada' }, { totp_secret: 'JBSWY3DP' }, { admin: true }]) {
    assert.ok(!parses({}, wrong), JSON.stringify(wrong))
  }
})
