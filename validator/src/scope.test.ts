/**
 * Goal: a key vouches for exactly what its scope says. Method: one deviation from good claims at a time; every way in
 * which an issuer can look like another; and a property over generated scopes against the rule in its plainest form.
 */

import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import type { KeyScope } from './manifest.ts'
import { checkScope, type ScopedClaims } from './scope.ts'

const fabrikam = 'abcdef22-2222-4222-8222-222222222222'
const northwind = '33333333-3333-4333-8333-333333333333'
const stranger = '44444444-4444-4444-8444-444444444444'

const key: KeyScope = {
  kid: 'k',
  algorithm: 'ES256',
  realm: 'enterprise',
  issuer: 'https://login.example/{tenantid}/v2.0',
  tenants: [fabrikam, northwind],
  tokenTypes: ['access'],
  audiences: ['https://mail.example', 'https://calendar.example'],
  lifetimeSecondsMax: 600,
}
const claims: ScopedClaims = {
  type: 'access',
  algorithm: 'ES256',
  issuer: `https://login.example/${fabrikam}/v2.0`,
  tenant: fabrikam,
  audiences: ['https://mail.example'],
  lifetimeSeconds: 600,
}

function outcome(change: Partial<ScopedClaims>, scope: KeyScope = key): string {
  try {
    checkScope(scope, { ...claims, ...change })
    return 'in scope'
  } catch (error) {
    return (error as { reason: string }).reason
  }
}

test('claims inside the scope pass, for each tenant and several audiences', () => {
  assert.equal(outcome({}), 'in scope')
  assert.equal(outcome({ tenant: northwind, issuer: `https://login.example/${northwind}/v2.0` }), 'in scope')
  assert.equal(outcome({ audiences: key.audiences ?? [] }), 'in scope')
  assert.equal(outcome({ audiences: ['any'] }, { ...key, audiences: undefined }), 'in scope')
})

test('T095 F9: a token type or an algorithm outside the scope is refused', () => {
  for (const type of ['id', 'logout', 'set', 'manifest'] as const)
    assert.equal(outcome({ type }), 'key_out_of_scope')
  assert.equal(outcome({ algorithm: 'EdDSA' }), 'key_out_of_scope')
})

test('T099 T100: each audience of a token must be in the scope, as text', () => {
  const outside = ['https://mail.example/', 'https://MAIL.example', 'https://mail', 'mail.example', '*', '']
  for (const audience of outside) {
    assert.equal(outcome({ audiences: [audience] }), 'key_out_of_scope')
    assert.equal(outcome({ audiences: ['https://mail.example', audience] }), 'key_out_of_scope')
  }
})

for (const issuer of [
  `http://login.example/${fabrikam}/v2.0`,
  `https://login.example/${fabrikam}/v2.0/`,
  `https://LOGIN.example/${fabrikam}/v2.0`,
  `https://login.example:443/${fabrikam}/v2.0`,
  `https://login.example/./${fabrikam}/v2.0`,
  `https://login.example/x/../${fabrikam}/v2.0`,
  `https://login.example//${fabrikam}/v2.0`,
  `https://login.example/%32${fabrikam.slice(1)}/v2%2E0`,
  `https://lоgin.example/${fabrikam}/v2.0`,
  `https://login.example/${fabrikam}/ｖ2.0`,
  `https://login.example/${fabrikam}/v2.0?x=/v2.0`,
  `https://login.example/${fabrikam}#/v2.0`,
  `https://login.example/user@attacker.example/v2.0`,
  `https://login.example/a/${fabrikam}/v2.0`,
  `https://login.example.attacker.example/${fabrikam}/v2.0`,
  `https://login.example/v2.0`,
  'https://login.example//v2.0',
  '',
]) {
  test(`T083: ${issuer} is another issuer`, () => {
    assert.equal(outcome({ issuer }), 'issuer_mismatch')
  })
}

test('T083: composed and decomposed letters make two issuers', () => {
  const named = { ...key, issuer: 'https://caf\u00e9.example', tenants: [fabrikam] }
  assert.equal(outcome({ issuer: 'https://caf\u00e9.example' }, named), 'in scope')
  assert.equal(outcome({ issuer: 'https://cafe\u0301.example' }, named), 'issuer_mismatch')
})

test('T086 F1: the tenant must be one of the key, and the one that the issuer names', () => {
  assert.equal(outcome({ tenant: northwind }), 'tenant_mismatch')
  assert.equal(outcome({ issuer: `https://login.example/${northwind}/v2.0` }), 'tenant_mismatch')
  assert.equal(
    outcome({ tenant: stranger, issuer: `https://login.example/${stranger}/v2.0` }),
    'tenant_mismatch',
  )
  assert.equal(outcome({ tenant: '{tenantid}', issuer: key.issuer }), 'tenant_mismatch')
  assert.equal(outcome({ issuer: key.issuer }), 'tenant_mismatch')
  assert.equal(outcome({ tenant: fabrikam.toUpperCase() }), 'tenant_mismatch')
  assert.equal(
    outcome({ tenant: 'not-a-guid', issuer: 'https://login.example/not-a-guid/v2.0' }),
    'tenant_mismatch',
  )
})

test('an issuer without a place for the tenant speaks for the tenants of its key', () => {
  const consumer = { ...key, issuer: 'https://consumer.example', tenants: [stranger] }
  assert.equal(outcome({ issuer: 'https://consumer.example', tenant: stranger }, consumer), 'in scope')
  assert.equal(outcome({ issuer: 'https://consumer.example' }, consumer), 'tenant_mismatch')
  assert.equal(
    outcome({ issuer: 'https://consumer.example/', tenant: stranger }, consumer),
    'issuer_mismatch',
  )
})

test('T072: a token may live as long as its key allows, and not a second longer', () => {
  assert.equal(outcome({ lifetimeSeconds: 601 }), 'lifetime_too_long')
})

test('of several deviations the first in the order of the rules is named', () => {
  const all = { type: 'id', issuer: '', tenant: '', lifetimeSeconds: 601 } as const
  assert.equal(outcome(all), 'key_out_of_scope')
  assert.equal(outcome({ ...all, type: 'access' }), 'issuer_mismatch')
  assert.equal(outcome({ tenant: '', lifetimeSeconds: 601 }), 'tenant_mismatch')
})

test('claims pass exactly when issuer and tenant are those of one tenant of the key', () => {
  const tenant = fc.constantFrom(fabrikam, northwind, stranger, '', '{tenantid}', 'a/b')
  const template = fc.constantFrom(
    key.issuer,
    'https://login.example/{tenantid}',
    '{tenantid}',
    'https://login.example',
  )
  fc.assert(
    fc.property(
      template,
      fc.subarray(key.tenants as string[]),
      tenant,
      tenant,
      (issuer, tenants, tid, named) => {
        const claimed = { issuer: issuer.replace('{tenantid}', named), tenant: tid }
        const allowed = tenants.some(
          (each) => each === tid && claimed.issuer === issuer.replace('{tenantid}', each),
        )
        assert.equal(outcome(claimed, { ...key, issuer, tenants }) === 'in scope', allowed)
      },
    ),
    { seed: 4, numRuns: 1000 },
  )
})
