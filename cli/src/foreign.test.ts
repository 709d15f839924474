/**
 * Goal: whoever is about to deny a key that is not ours reads who would notice, and what nobody here can know. Method: the pure
 * parts, with sightings made up.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { noForeignDenials } from '@countersign/validator/foreign-denials'
import { describeForeign, foreseeForeign } from './foreign.ts'

const template = 'https://login.example/{tenantid}/v2.0'
const issuerOf = (tenant: string): string => template.replace('{tenantid}', tenant)
const [one, two] = ['11111111-1111-4111-8111-111111111111', '22222222-2222-4222-8222-222222222222'] as const
const kid = 'theirs'

function seen(tenant: string, validator: string, verdict: string, tokens: number, at: number) {
  const times = { first_seen_ms: at - 10, last_seen_ms: at }
  return { issuer: issuerOf(tenant), tenant, validator, verdict, tokens, ...times }
}

const usage = {
  hours: 24,
  seen: [
    seen(one, 'orders', 'accepted', 2, 1000),
    seen(two, 'orders', 'accepted', 1, 5000),
    seen(one, 'orders', 'key_blocked', 4, 9000),
    seen(one, 'mail', 'accepted', 1, 2000),
    { ...seen(one, 'mail', 'accepted', 8, 3000), issuer: 'https://id.example', tenant: null },
  ],
}
const nothing = { foreign: noForeignDenials }

test('R6: a dry run of a foreign key adds up validators and issuers, and tells those apart that only share its name', () => {
  const foresight = foreseeForeign({ op: 'block', iss: template, kid }, usage, nothing)
  assert.deepEqual(foresight.validators, [
    { name: 'orders', accepted: 3, refused: 4, last_seen_ms: 9000 },
    { name: 'mail', accepted: 9, refused: 0, last_seen_ms: 3000 },
  ])
  assert.deepEqual(
    foresight.issuers.map(({ tenant, accepted }) => [tenant, accepted]),
    [
      [one, 3],
      [two, 1],
    ],
  )
  assert.deepEqual(
    foresight.others.map(({ issuer, accepted }) => [issuer, accepted]),
    [['https://id.example', 8]],
  )
  const text = describeForeign(foresight)
  for (const part of [kid, 'orders', issuerOf(two), 'nothing of ours takes its place', 'no canary'])
    assert.ok(text.includes(part), part)
  assert.match(text, /other issuers with a key so named.*\n.*\n +https:\/\/id\.example/)
  assert.deepEqual([foresight.live_tokens, foresight.canary, foresight.blocked_since], [null, null, null])
})

test('R6: one tenant of several is shown alone by a cutoff that names it, and a person cannot be looked for', () => {
  const target = { op: 'cutoff', iss: template, tenant: two, sub: 'eve' } as const
  const foresight = foreseeForeign(target, { ...usage, seen: usage.seen.slice(0, 4) }, nothing)
  assert.deepEqual(
    foresight.issuers.map(({ tenant, accepted }) => [tenant, accepted]),
    [[two, 1]],
  )
  const text = describeForeign(foresight, target)
  assert.match(text, /no sighting names a person/)
  assert.doesNotMatch(text, /next key/)
})

test('R6: a key that nobody saw may be none, and one that is blocked already says since when', () => {
  const blocked = [{ issuer: template, kid, at: 60, reason: 'stolen', by: 'olga' }]
  const denied = { foreign: { ...noForeignDenials, blocked } }
  const foresight = foreseeForeign({ op: 'block', iss: template, kid }, { hours: 1, seen: [] }, denied)
  const text = describeForeign(foresight)
  assert.match(text, /in the last 1 h: none/)
  assert.match(text, /A name that no validator knows kills nothing/)
  assert.match(text, /blocked already, since 1970-01-01 00:01:00/)
})
