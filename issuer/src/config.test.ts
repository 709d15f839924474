/**
 * Goal: a slip in a file stops the issuer instead of opening it (T239). Method: a good file of each kind, with one
 * thing wrong at a time.
 */

import assert from 'node:assert/strict'
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { test } from 'node:test'
import { createTestCertificate, type TestCertificate } from '@countersign/validator/test-certificate'
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

const forwarded = { header: 'client-cert', format: 'rfc9440' }
const own = {
  listen: { host: '127.0.0.1', port: 0 },
  public_url: 'https://mtls.login.example',
  key: 'server.key',
  cert: 'server.pem',
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
  assert.ok(configSchema.safeParse({ ...config, client_certificate: forwarded }).success)
  assert.ok(configSchema.safeParse({ ...config, mutual_tls: own }).success)
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
    { client_certificate: {} },
    { client_certificate: { ...forwarded, format: 'pem' } },
    { client_certificate: { ...forwarded, peers: [] } },
    { client_certificate: { ...forwarded, public_url: 'https://mtls.example/' } },
    { client_certificate: forwarded, mutual_tls: own },
    { mutual_tls: { ...own, cert: undefined } },
    { mutual_tls: { ...own, public_url: undefined } },
    { mutual_tls: { ...own, crl: 'revoked.pem' } },
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
    { totp_key: `${'k'.repeat(42)}+` },
    { totp_key: `${'k'.repeat(42)}.` },
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

test('J5 T239 the seed: a client with a certificate is known by one thing, and by no secret', () => {
  const parses = (change: object): boolean =>
    seedSchema.safeParse({ clients: [{ ...client, client_secret: undefined, ...change }], people: [] })
      .success
  const named = {
    token_endpoint_auth_method: 'tls_client_auth',
    tls_client_auth_subject_dn: 'CN=mail,O=Acme',
  }
  const [certificate, other] = [createTestCertificate('mail'), createTestCertificate('mail')]
  const jwkOf = ({ der }: TestCertificate): object =>
    new X509Certificate(der).publicKey.export({ format: 'jwk' })
  const jwk = { ...jwkOf(certificate), x5c: [certificate.der.toString('base64')] }
  const own = { token_endpoint_auth_method: 'self_signed_tls_client_auth', jwks: { keys: [jwk] } }
  const privateJwk = createPrivateKey(certificate.privateKey).export({ format: 'jwk' })
  for (const right of [
    named,
    own,
    { ...named, tls_client_auth_subject_dn: undefined, tls_client_auth_san_dns: 'mail.example' },
    { ...named, tls_client_auth_subject_dn: undefined, tls_client_auth_san_uri: 'spiffe://acme/mail' },
    { ...named, tls_client_auth_subject_dn: undefined, tls_client_auth_san_ip: '2001:db8::1' },
    { ...named, tls_client_auth_subject_dn: undefined, tls_client_auth_san_email: 'ops@acme.example' },
  ])
    assert.ok(parses(right), JSON.stringify(right))
  for (const wrong of [
    { ...named, client_secret: 's'.repeat(22) },
    { ...named, tls_client_auth_san_dns: 'mail.example' },
    { ...named, tls_client_auth_subject_dn: undefined },
    { ...named, tls_client_auth_subject_dn: 'mail' },
    { ...named, tls_client_auth_subject_dn: undefined, tls_client_auth_san_dns: '*.example' },
    { ...named, tls_client_auth_subject_dn: undefined, tls_client_auth_san_dns: '.example' },
    { ...named, tls_client_auth_subject_dn: undefined, tls_client_auth_san_ip: 'mail.example' },
    { ...named, jwks: own.jwks },
    { ...named, dpop_bound_access_tokens: true, tls_client_certificate_bound_access_tokens: true },
    { ...own, client_secret: 's'.repeat(22) },
    { ...own, tls_client_auth_san_dns: 'mail.example' },
    { ...own, jwks: undefined },
    { ...own, jwks: { keys: [] } },
    { ...own, jwks: { keys: [{ ...jwk, x5c: undefined }] } },
    { ...own, jwks: { keys: [{ ...jwk, x5c: [] }] } },
    { ...own, jwks: { keys: [{ ...jwk, x5c: ['bm9uZQ=='] }] } },
    { ...own, jwks: { keys: [{ ...jwk, ...jwkOf(other) }] } },
    { ...own, jwks: { keys: [{ ...privateJwk, x5c: jwk.x5c }] } },
    { ...own, jwks: undefined, jwks_uri: 'https://acme.example/jwks' },
    { client_secret: 's'.repeat(22), tls_client_auth_san_dns: 'mail.example' },
    { client_secret: 's'.repeat(22), jwks: own.jwks },
    { token_endpoint_auth_method: 'private_key_jwt', jwks: own.jwks },
  ])
    assert.ok(!parses(wrong), JSON.stringify(wrong))
})
