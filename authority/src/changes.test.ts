/**
 * Goal: whoever approves sees everything that would change, and nothing else. Method: each member of a charter changed,
 * added and removed in turn, each with a line of its own; a line for no change at all; and texts that would lead a
 * reader astray.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseCharter } from '@countersign/validator/charter'
import { readPayload, type SignedDocument } from '@countersign/validator/document'
import type { JsonObject, JsonValue } from '@countersign/validator/json'
import { createTestKey, createTestWorld, tenants } from '@countersign/validator/testing'
import { describeProposal, type InForce } from './changes.ts'

const world = createTestWorld()
const base = readPayload((world.charterDocuments[0] as SignedDocument).payload)
const inForce: InForce = { charter: base, manifest: world.state.manifest }
const consumer = (base['realms'] as JsonObject)['consumer'] as JsonObject

function realm(change: JsonObject, name = 'consumer'): JsonObject {
  const realms = base['realms'] as JsonObject
  return { realms: { ...realms, [name]: { ...(realms[name] as JsonObject), ...change } } }
}

/** The lines for the next charter, without the first, which says its number. */
function changesOf(change: JsonObject): readonly string[] {
  const next = { ...base, ...change, version: 2 }
  parseCharter(next)
  const [first, ...others] = describeProposal('charter', next, inForce)
  assert.match(first ?? '', /^charter 2 follows charter 1; written /)
  return others
}

const fresh = {
  signer: createTestKey('EdDSA'),
  operator: createTestKey('EdDSA'),
  block: createTestKey('EdDSA'),
}
const [olga] = world.operators
const operators = base['operators'] as readonly JsonObject[]

test('a charter that changes nothing but its number has no further line', () => {
  assert.deepEqual(changesOf({}), [])
  const reordered = Object.fromEntries(Object.entries(base).reverse())
  assert.deepEqual(changesOf(reordered), [], 'the order of members means nothing')
})

/** What changes, and the lines for it. */
const changes: readonly (readonly [what: string, change: JsonObject, lines: readonly string[]])[] = [
  ['threshold', { threshold: 3 }, ['threshold (how many operators must approve): 2 -> 3, more']],
  [
    'an operator more',
    { operators: [...operators, { id: 'otto', jwk: fresh.operator.jwk as unknown as JsonValue }] },
    [`operators.otto.jwk: added, key ${fresh.operator.kid} (EdDSA)`],
  ],
  [
    'an operator less',
    { operators: operators.slice(1) },
    [`operators.olga.jwk: removed; it was key ${olga?.kid} (EdDSA)`],
  ],
  [
    'another key of an operator',
    { operators: [{ id: 'olga', jwk: fresh.operator.jwk as unknown as JsonValue }, ...operators.slice(1)] },
    [`operators.olga.jwk: key ${olga?.kid} (EdDSA) -> key ${fresh.operator.kid} (EdDSA)`],
  ],
  [
    'a passkey instead of a key file',
    {
      operators: [
        { ...operators[0], webauthn: { rp_id: 'ops.example', origins: ['https://ops.example'] } },
        ...operators.slice(1),
      ],
    },
    [
      'operators.olga.webauthn.rp_id (approves with a passkey alone): added, "ops.example"',
      'operators.olga.webauthn.origins (approves with a passkey alone): with "https://ops.example"',
    ],
  ],
  [
    'operators in another order',
    { operators: operators.toReversed() },
    ['operators: in this order: opal, omar, olga'],
  ],
  [
    'block keys',
    { block_keys: [fresh.block.jwk as unknown as JsonValue] },
    [
      `block_keys (may block a key and nothing else): without ${world.blockKey.kid} (EdDSA)`,
      `block_keys (may block a key and nothing else): with ${fresh.block.kid} (EdDSA)`,
    ],
  ],
  [
    'times',
    realm({ rotation_seconds: 7200, overlap_seconds: 86_400 }),
    [
      'realms.consumer.rotation_seconds (how long a key signs): 86400 s (1 d) -> 7200 s (2 h), shorter',
      `realms.consumer.overlap_seconds (how long a key verifies after it stops signing): ${consumer['overlap_seconds']} s${units(consumer['overlap_seconds'])} -> 86400 s (1 d), longer`,
    ],
  ],
  [
    'tenants',
    realm({ tenants: [tenants.fabrikam] }, 'enterprise'),
    [`realms.enterprise.tenants (whose people tokens are about): without "${tenants.northwind}"`],
  ],
  [
    'a signer more, which makes new keys',
    realm({ signers: [...(consumer['signers'] as JsonValue[]), fresh.signer.jwk as unknown as JsonValue] }),
    [
      `realms.consumer.signers (attest keys; the last makes new ones): with ${fresh.signer.kid} (EdDSA)`,
      `realms.consumer.signers (attest keys; the last makes new ones): in this order: ${world.signers.consumer.kid} (EdDSA), ${fresh.signer.kid} (EdDSA)`,
    ],
  ],
  [
    'algorithms in another order',
    realm({ algs: ['EdDSA', 'ES256', 'PS256', 'RS256', 'ML-DSA-44'] }),
    ['realms.consumer.algs (algorithms): in this order: "EdDSA", "ES256", "PS256", "RS256", "ML-DSA-44"'],
  ],
]

function units(seconds: JsonValue | undefined): string {
  return Number(seconds) % 3600 === 0 ? ` (${Number(seconds) / 3600} h)` : ` (${Number(seconds) / 60} min)`
}

for (const [what, change, lines] of changes) {
  test(`${what}: exactly that is said`, () => {
    const said = changesOf(change).filter((line) => !/^(key|NO KEY) /.test(line))
    assert.deepEqual([...said].sort(), [...lines].sort())
  })
}

test('T229: every member of a charter has a line when it changes, at whatever depth', () => {
  const silent: string[] = []
  const visit = (value: JsonValue | undefined, path: readonly string[]): void => {
    const name = path.join('.')
    if (path.length > 0 && name !== 'version' && name !== 'iat') {
      const altered = withAltered(base, path)
      const lines = describeLoosely(altered)
      if (!lines.some((line) => line.startsWith(path[0] as string))) silent.push(name)
    }
    if (typeof value !== 'object' || value === null) return
    for (const [member, inner] of Object.entries(value)) visit(inner, [...path, member])
  }
  visit(base, [])
  assert.deepEqual(silent, [])
})

/** The differences of a payload that need not be a charter any more: ends of keys are left out. */
function describeLoosely(payload: JsonObject): readonly string[] {
  try {
    return describeProposal('charter', payload, inForce)
  } catch {
    // No validator would take it, so nobody is asked about it.
    return [Object.keys(payload).find((name) => payload[name] !== base[name]) ?? '']
  }
}

function withAltered(value: JsonObject, [first, ...rest]: readonly string[]): JsonObject {
  const member = value[first as string]
  const altered: JsonValue =
    rest.length > 0
      ? (alterInside(member as JsonObject | readonly JsonValue[], rest) as JsonValue)
      : typeof member === 'number'
        ? member + 1
        : 'altered'
  return { ...value, [first as string]: altered }
}

function alterInside(value: JsonObject | readonly JsonValue[], path: readonly string[]): unknown {
  if (!Array.isArray(value)) return withAltered(value as JsonObject, path)
  const altered = withAltered({ ...(value as unknown as JsonObject) }, path)
  return Object.values(altered)
}

test('T027: what a terminal would obey, or a reader would be led astray by, is shown as what it is', () => {
  const payload = {
    op: 'break-glass',
    realm: 'consumer',
    until: 1,
    reason: 'a\u001b[2Jb\u202egnp.\u2028c',
    proposer: 'x',
  }
  const said = describeProposal('approval', payload, inForce).join('\n')
  assert.match(said, /reason: "a\\u001b\[2Jb\\u\{202e\}gnp\.\\u\{2028\}c"/)
  assert.doesNotMatch(said.replaceAll('\n', ''), /[^\P{C}]|[\p{Zl}\p{Zp}]/u)
})

test('an approval says what it does to which key, in words', () => {
  const { kid } = world.keys.consumer
  const at = world.now
  const common = { reason: 'r', proposer: 'olga', iat: at, exp: at + 900, jti: 'x', charter_version: 1 }
  const key = `key ${kid} of consumer, active, "https://login.consumer.example",`
  const time = new Date(at * 1000).toISOString().replace('.000Z', 'Z')
  const lines: Readonly<Record<string, readonly [object, string]>> = {
    lift: [{ kid, blocked_at: at }, `${key} counts again, although it was blocked at ${time}`],
    activate: [{ kid }, `${key} signs at once`],
    prune: [{ kids: [kid, 'other'] }, `${key} leaves the manifest`],
    'remove-validator': [
      { name: 'gateway' },
      'validator "gateway" is waited for no longer, and what it says no longer counts',
    ],
    export: [{ kid }, `"export": {"kid":"${kid}"}`],
  }
  for (const [op, [target, line]] of Object.entries(lines)) {
    assert.equal(describeProposal('approval', { op, ...target, ...common } as JsonObject, inForce)[0], line)
  }
})
