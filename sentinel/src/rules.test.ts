/**
 * Goal: only what a thief alone can make is an alarm, for every verdict there is. Method: the whole table, verdict by
 * what was found of signature and receipt, against what it should be.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Reason, refusals } from '@countersign/validator/refusal'
import type { Sighting } from '@countersign/validator/sighting'
import { createTestWorld } from '@countersign/validator/testing'
import { type Rule, rules } from './alert.ts'
import { judgeSighting } from './rules.ts'

const world = createTestWorld()
const { kid } = world.keys.consumer
const key = world.state.manifest.keys.get(kid)

/** Which rule fires for a refused token with a valid signature: without a receipt that is right, and with one. */
const expected: Record<Reason, { forged?: Rule; witnessed?: Rule }> = {
  malformed: { forged: 'valid_signature_refused' },
  oversized: { forged: 'valid_signature_refused' },
  alg_not_allowed: { forged: 'valid_signature_refused' },
  header_not_allowed: { forged: 'valid_signature_refused' },
  type_mismatch: { forged: 'valid_signature_refused' },
  unknown_key: { forged: 'valid_signature_refused' },
  key_out_of_scope: { forged: 'out_of_scope' },
  key_not_active: { forged: 'inactive_key_used', witnessed: 'inactive_key_used' },
  key_retired: { forged: 'inactive_key_used' },
  key_blocked: { forged: 'inactive_key_used' },
  key_revoked: { forged: 'inactive_key_used' },
  issuer_mismatch: { forged: 'out_of_scope', witnessed: 'out_of_scope' },
  tenant_mismatch: { forged: 'out_of_scope', witnessed: 'out_of_scope' },
  audience_mismatch: { forged: 'valid_signature_refused' },
  signature_invalid: {},
  receipt_missing: { forged: 'receipt_missing' },
  receipt_invalid: { forged: 'valid_signature_refused' },
  expired: { forged: 'valid_signature_refused' },
  not_yet_valid: { forged: 'valid_signature_refused' },
  lifetime_too_long: { forged: 'out_of_scope', witnessed: 'out_of_scope' },
  issued_outside_key_window: { forged: 'valid_signature_refused' },
  issued_before_cutoff: { forged: 'valid_signature_refused' },
  sender_mismatch: { forged: 'valid_signature_refused' },
  manifest_stale: {},
}

for (const verdict of Object.keys(refusals) as Reason[]) {
  test(`D3 F9: ${verdict} is an alarm only with a valid signature, and as the table says`, () => {
    const { forged, witnessed } = expected[verdict]
    if (verdict !== 'signature_invalid') {
      assert.equal(ruleOf({ verdict, signatureValid: true, receiptValid: false }), forged)
      if (verdict !== 'receipt_missing' && verdict !== 'receipt_invalid')
        assert.equal(ruleOf({ verdict, signatureValid: true, receiptValid: true }), witnessed)
    }
    for (const receiptValid of [true, false, undefined])
      for (const signatureValid of [false, undefined])
        assert.equal(ruleOf({ verdict, signatureValid, receiptValid }), undefined)
  })
}

test('what was accepted is no alarm by itself', () => {
  assert.equal(ruleOf({ verdict: 'accepted', signatureValid: true, receiptValid: true }), undefined)
})

test('a receipt that was not looked at does not make a forgery', () => {
  assert.equal(ruleOf({ verdict: 'expired', signatureValid: true }), undefined)
  assert.equal(ruleOf({ verdict: 'audience_mismatch', signatureValid: true }), undefined)
})

test('F9 T095: a witnessed token of a type that its key may not sign is out of scope, another realm is not', () => {
  const sighting = { verdict: 'key_out_of_scope', signatureValid: true, receiptValid: true } as const
  assert.equal(ruleOf({ ...sighting, tokenType: 'manifest' }), 'out_of_scope')
  assert.equal(ruleOf({ ...sighting, tokenType: 'access' }), undefined)
})

test('F1 T084: of issuers that are not ours, a key that speaks for another is an alarm, and what comes in anyway is none', () => {
  const judge = (verdict: 'accepted' | Reason, signatureValid?: boolean) =>
    judgeSighting({ verdict, at: 0, kid: 'yreX2PsLi-qkbR8QDOmB_ySxp8Q', signatureValid }, undefined, 'orders')
  const finding = judge('issuer_mismatch', true)
  assert.deepEqual([finding?.rule, finding?.realm], ['out_of_scope', null])
  for (const verdict of ['tenant_mismatch', 'lifetime_too_long', 'audience_mismatch'] as const)
    assert.equal(judge(verdict), undefined, verdict)
  for (const verdict of ['accepted', 'key_blocked', 'issued_before_cutoff', 'expired'] as const)
    assert.equal(judge(verdict, true), undefined, verdict)
})

test('T119: whose key it is, the manifest says and not the report', () => {
  const sighting = {
    verdict: 'receipt_missing',
    at: 1,
    kid,
    realm: 'enterprise',
    signatureValid: true,
  } as const
  assert.equal(judgeSighting(sighting, key, 'gateway')?.realm, 'consumer')
})

test('D11: every rule has a test that fires it', async () => {
  const { readdir, readFile } = await import('node:fs/promises')
  const files = (await readdir(import.meta.dirname)).filter((name) => name.endsWith('.test.ts'))
  const texts = await Promise.all(files.map((name) => readFile(`${import.meta.dirname}/${name}`, 'utf8')))
  const tests = texts.join('\n')
  for (const rule of Object.keys(rules)) assert.ok(tests.includes(`'${rule}'`), rule)
})

function ruleOf(sighting: Omit<Sighting, 'at'>): Rule | undefined {
  return judgeSighting({ at: 1, kid, ...sighting }, key, 'gateway')?.rule
}
