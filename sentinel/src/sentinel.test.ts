/**
 * Goal: a stolen key shows and is blocked, genuine traffic and garbage never raise an alarm, and nobody can forge,
 * replay or flood the reports. Method: a whole sentinel on loopback, told by real validators what they see of a world
 * in which the test also plays the thief.
 */

import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { after, before, type TestContext, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { AuthorityError } from '@countersign/authority/client'
import { decode } from '@countersign/validator/base64url'
import { unsignedCanary } from '@countersign/validator/canary'
import type { ManifestKey } from '@countersign/validator/manifest'
import { REPORT_SIGHTINGS_MAX, type Sighting, signReport } from '@countersign/validator/sighting'
import { createTestKey, issuers, mailAudience, type TestKey, tenants } from '@countersign/validator/testing'
import type { Rule } from './alert.ts'
import { fetchIncidents, followAlerts } from './client.ts'
import { startTestSentinel, type TestSentinel, type TestValidator } from './testing.ts'

/** Nothing is blocked here, so that one key can be stolen again and again. */
const watchOnly = { auto_block: [], silent_seconds: 60, merge_delay_seconds: 0.01, retention_days: 1 }

let sentinel: TestSentinel
let gateway: TestValidator
before(async () => {
  sentinel = await startTestSentinel({ policy: watchOnly })
  gateway = await sentinel.enrol('gateway')
})
after(() => sentinel.stop())

/** A sentinel of a test's own. A test that fails does not leave it running, which would keep this process alive. */
async function begin(t: TestContext, ...change: Parameters<typeof startTestSentinel>): Promise<TestSentinel> {
  const own = await startTestSentinel(...change)
  t.after(own.stop)
  return own
}

test('F9 T267: genuine tokens and garbage, refused or not, raise no alarm', async () => {
  const { world } = sentinel
  const consumerOnly = await sentinel.enrol('consumer-only', 'consumer')
  const genuine = world.issue()
  const stranger = createTestKey('ES256')
  const harmless = [
    world.issue({ claims: { iat: world.now - 600, exp: world.now - 300 } }),
    world.issue({ claims: { aud: 'https://calendar.countersign.example' } }),
    world.issue({ claims: { nbf: world.now + 3600 } }),
    world.issue({ claims: { cnf: { jkt: stranger.kid } } }),
    world.issue({ type: 'id' }),
    tamper(world.issue({ receipt: null })),
    world.issue({ key: stranger, receipt: null }),
    world.issue({ key: stranger, header: { kid: world.keys.consumer.kid }, receipt: null }),
    `${genuine}.x`,
    'garbage',
    ...Array.from({ length: 300 }, () => tamper(genuine)),
  ]
  for (const token of harmless) assert.equal(gateway.decide(token).accepted, false)
  assert.equal(consumerOnly.decide(world.issue({ realm: 'enterprise' })).accepted, false)
  assert.equal(gateway.decide(genuine).accepted, true)
  await gateway.reporter.flush()
  await consumerOnly.reporter.flush()
  assert.deepEqual(await sentinel.alerts(), [])
  const metrics = await (await fetch(new URL('/metrics', sentinel.url))).text()
  assert.match(
    metrics,
    /countersign_sightings_total\{validator="gateway",verdict="signature_invalid"\} 30\d\n/,
  )
})

const thefts: readonly [title: string, rule: Rule, reason: string, forge: () => string][] = [
  [
    'T125 T145 F8: the key, in scope, never issued',
    'receipt_missing',
    'receipt_missing',
    () => sentinel.world.issue({ receipt: null }),
  ],
  [
    'T126: the receipt of a genuine token on other claims',
    'valid_signature_refused',
    'receipt_invalid',
    () => {
      const genuine = JSON.parse(
        Buffer.from(sentinel.world.issue().split('.')[0] ?? '', 'base64url').toString(),
      )
      return sentinel.world.issue({ receipt: decode(genuine.rcpt), claims: { sub: 'victim' } })
    },
  ],
  [
    'T084 F1 F2 F9: a consumer key for an enterprise account',
    'out_of_scope',
    'issuer_mismatch',
    () => {
      const claims = {
        iss: issuers.enterprise.replace('{tenantid}', tenants.fabrikam),
        tid: tenants.fabrikam,
      }
      return sentinel.world.issue({ claims, receipt: null })
    },
  ],
  [
    'T085: a consumer issuer and an enterprise tenant',
    'out_of_scope',
    'tenant_mismatch',
    () => sentinel.world.issue({ claims: { iss: issuers.consumer, tid: tenants.fabrikam }, receipt: null }),
  ],
  [
    'T072: a longer life than the key may give, although a witness saw it',
    'out_of_scope',
    'lifetime_too_long',
    () => sentinel.world.issue({ claims: { exp: sentinel.world.now + 7200 } }),
  ],
  [
    'T095: a token type outside the key, although a witness saw it',
    'out_of_scope',
    'key_out_of_scope',
    () => sentinel.world.issue({ key: addKey({ tokenTypes: ['id'] }) }),
  ],
  [
    'T093 F4: a key that is published and not active',
    'inactive_key_used',
    'key_not_active',
    () => sentinel.world.issue({ key: addKey({ state: 'published' }), receipt: null }),
  ],
  [
    'T093 F4: a key that is retired',
    'inactive_key_used',
    'key_retired',
    () => sentinel.world.issue({ key: addKey({ state: 'retired' }), receipt: null }),
  ],
  [
    'T073: another audience, never issued',
    'valid_signature_refused',
    'audience_mismatch',
    () => sentinel.world.issue({ claims: { aud: 'https://elsewhere.example' }, receipt: null }),
  ],
]

for (const [at, [title, rule, reason, forge]] of thefts.entries()) {
  test(`${title}: ${rule}`, async () => {
    const network = `203.0.113.${at}`
    const token = forge()
    assert.equal(gateway.decide(token, { network }).accepted, false)
    const alert = await sentinel.alertOf((event) => event.alert.actor === network)
    const kid = JSON.parse(Buffer.from(token.split('.')[0] ?? '', 'base64url').toString()).kid
    assert.deepEqual(
      { ...alert, id: 0, at: 0, first_seen_ms: 0, last_seen_ms: 0, message: '' },
      {
        id: 0,
        at: 0,
        rule,
        severity: 'critical',
        realm: 'consumer',
        kid,
        reason,
        actor: network,
        first_seen_ms: 0,
        last_seen_ms: 0,
        count: 1,
        validator: 'gateway',
        message: '',
      },
    )
    assert.ok(alert.first_seen_ms <= alert.at)
  })
}

test('T118 T267: genuine tokens of a key that was just blocked are refused and are no alarm; forged ones are', async (t) => {
  const quiet = await begin(t)
  const { world } = quiet
  const webmail = await quiet.enrol('webmail')
  const genuine = world.issue()
  world.setState(world.keys.consumer.kid, 'blocked')
  assert.equal(webmail.decide(genuine).accepted, false)
  await webmail.reporter.flush()
  assert.deepEqual(await quiet.alerts(), [])
  webmail.decide(world.issue({ receipt: null }))
  const alert = await quiet.alertOf(() => true)
  assert.deepEqual([alert.rule, alert.reason], ['inactive_key_used', 'key_blocked'])
  // It is blocked already, and says so; there is nothing to order.
  assert.deepEqual(quiet.blocks, [])
})

test('T267: one attack is one alert that counts, whatever it is repeated', async (t) => {
  const busy = await begin(t, { policy: watchOnly })
  const webmail = await busy.enrol('webmail')
  for (let n = 0; n < 150; n++) webmail.decide(busy.world.issue({ receipt: null }))
  await webmail.reporter.flush()
  const alerts = await busy.alerts()
  assert.equal(alerts.length, 1)
  assert.equal(alerts[0]?.count, 150)
  for (let n = 0; n < 100; n++)
    webmail.decide(busy.world.issue({ receipt: null }), { network: `2001:db8::${n}` })
  await webmail.reporter.flush()
  const later = await busy.alerts()
  assert.ok(later.length <= 20, `${later.length} alerts for one key`)
  assert.equal(
    later.reduce((sum, { count }) => sum + count, 0),
    250,
  )
})

test('D2 F10 T145: the first forged token that a validator refuses has its key blocked, and says when all have it', async (t) => {
  const acting = await begin(t)
  const webmail = await acting.enrol('webmail')
  const { kid } = acting.world.keys.consumer
  webmail.decide(acting.world.issue({ receipt: null }))
  const alert = await acting.alertOf(({ alert }) => alert.rule === 'receipt_missing')
  const incident = await until(
    async () => (await fetchIncidents(acting.url))[0],
    (found) => typeof found?.block?.acknowledged_ms === 'number',
  )
  assert.deepEqual(acting.blocks, [{ kid, reason: 'receipt_missing' }])
  assert.equal(webmail.decide(acting.world.issue()).accepted, false)
  assert.equal(incident?.kid, kid)
  assert.deepEqual(incident?.alerts, [alert.id])
  assert.equal(incident?.block?.version, acting.world.state.manifest.version)
})

test('a block is acknowledged only when the slowest validator has it', async (t) => {
  const acting = await begin(t)
  const webmail = await acting.enrol('webmail')
  acting.behind.set('slow', 1)
  webmail.decide(acting.world.issue({ receipt: null }))
  const blockOf = async () => (await fetchIncidents(acting.url))[0]?.block
  const ordered = await until(blockOf, (block) => typeof block?.version === 'number')
  assert.equal(ordered?.acknowledged_ms, null)
  acting.behind.set('slow', undefined)
  await until(blockOf, (block) => typeof block?.acknowledged_ms === 'number')
})

test('a block that the authority cannot take now is ordered again, after a restart too', async (t) => {
  const acting = await begin(t)
  const webmail = await acting.enrol('webmail')
  const { block } = acting
  acting.block = async () => {
    throw new AuthorityError('unreachable', 'away', true)
  }
  webmail.decide(acting.world.issue({ receipt: null }))
  await until(
    async () => acting.blocks.length,
    (times) => times >= 3,
  )
  await acting.restart()
  acting.block = block
  await until(
    async () => (await fetchIncidents(acting.url))[0]?.block,
    (order) => typeof order?.acknowledged_ms === 'number',
  )
  assert.equal((await acting.alerts()).length, 1)
})

test('a block that can never be carried out is given up, and the incident says why', async (t) => {
  const acting = await begin(t)
  const webmail = await acting.enrol('webmail')
  acting.block = async () => {
    throw new AuthorityError('command_not_authorised', 'no such block key', false)
  }
  webmail.decide(acting.world.issue({ receipt: null }))
  const block = await until(
    async () => (await fetchIncidents(acting.url))[0]?.block,
    (order) => typeof order?.failure === 'string',
  )
  assert.equal(block?.failure, 'command_not_authorised')
  assert.equal(acting.blocks.length, 1)
})

test('T146 T147 D2: signing key and witness key stolen: accepted, then exposed by a log that holds no such entry', async (t) => {
  const acting = await begin(t)
  const { world } = acting
  const webmail = await acting.enrol('webmail')
  const honest = [...world.witness.entries]
  acting.log.entries = () => honest
  const forged = world.issue({ claims: { sub: 'victim' } })
  assert.equal(webmail.decide(forged).accepted, true)
  await webmail.reporter.flush()
  const alert = await acting.alertOf(({ alert }) => alert.rule === 'log_mismatch')
  assert.equal(alert.reason, 'entry_missing')
  await until(
    async () => acting.blocks,
    (blocks) => blocks.length > 0,
  )
  assert.equal(webmail.decide(forged).accepted, false)
})

test('T141 D2: a genuine index with another leaf is exposed as soon as the log was read', async (t) => {
  const acting = await begin(t, { policy: watchOnly })
  const { world } = acting
  const webmail = await acting.enrol('webmail')
  const at = world.witness.entries.length
  const forged = world.issue()
  const other = world.issueBatch([{ claims: { sub: 'someone else' } }]) && world.witness.entries[at + 1]
  assert.ok(other)
  acting.log.entries = () => [...world.witness.entries.slice(0, at), other]
  assert.equal(webmail.decide(forged).accepted, true)
  await webmail.reporter.flush()
  const alert = await acting.alertOf(({ alert }) => alert.rule === 'log_mismatch')
  assert.equal(alert.reason, 'entry_differs')
})

test('T146 T147: a sealed log holds no more than it holds, whatever a stolen witness key says', async (t) => {
  const acting = await begin(t, { policy: { ...watchOnly, merge_delay_seconds: 3600 } })
  const { world } = acting
  const webmail = await acting.enrol('webmail')
  const honest = [...world.witness.entries]
  acting.log.entries = () => honest
  assert.equal(webmail.decide(world.issue({ claims: { sub: 'before it was sealed' } })).accepted, true)
  await webmail.reporter.flush()
  const draft = world.draft.logs.map((log) => ({ ...log, state: 'sealed' as const }))
  world.publish(() => ({ logs: draft }))
  acting.tell()
  const first = await acting.alertOf(({ alert }) => alert.rule === 'log_mismatch')
  assert.equal(first.reason, 'entry_missing')
  assert.equal(webmail.decide(world.issue(), { network: '203.0.113.9' }).accepted, true)
  await webmail.reporter.flush()
  const second = await acting.alertOf(({ alert }) => alert.actor === '203.0.113.9')
  assert.equal(second.reason, 'entry_missing')
})

test('T135 T136: a log that changes its past is an alert', async (t) => {
  const acting = await begin(t)
  const { world } = acting
  world.issue()
  await until(
    () => logSize(acting),
    (size) => size === world.witness.entries.length,
  )
  const forked = world.witness.entries.map((entry, at) => (at === 0 ? altered(entry) : entry))
  acting.log.entries = () => forked
  const alert = await acting.alertOf(({ alert }) => alert.rule === 'log_inconsistent')
  assert.equal(alert.actor, world.witness.origin)
})

test('T135: a log that was rolled back while the sentinel was away is an alert', async (t) => {
  const acting = await begin(t)
  const { world } = acting
  for (let n = 0; n < 5; n++) world.issue()
  await until(
    () => logSize(acting),
    (size) => size === world.witness.entries.length,
  )
  const { entries, clock } = acting.log
  acting.log.entries = () => entries().slice(0, 3)
  acting.log.clock = () => clock() + 2
  await acting.restart()
  await acting.alertOf(({ alert }) => alert.rule === 'log_inconsistent')
})

test('A3 T230: broken glass alarms whoever listens, by the manifest alone, whatever the policy says', async (t) => {
  const acting = await begin(t, { policy: watchOnly })
  const { world } = acting
  const until = world.now + 3600
  world.publish(() => ({ breakGlass: [world.approve({ op: 'break-glass', realm: 'enterprise', until })] }))
  const alert = await acting.alertOf(({ alert }) => alert.rule === 'break_glass')
  assert.deepEqual([alert.severity, alert.realm, alert.reason], ['critical', 'enterprise', 'glass_broken'])
})

test('F13 K3: what the authority says of its rotations becomes alerts', async (t) => {
  const acting = await begin(t, { policy: watchOnly })
  const slot = {
    realm: 'consumer',
    issuer: 'https://login.example',
    purpose: 'token',
    age_ratio: 0.1,
  } as const
  acting.rotation = {
    leader: true,
    slots: [{ ...slot, active: 'A', next: 'B', due_at: 1000, waits_for: [], overdue: ['webmail'] }],
  }
  const unheard = await acting.alertOf(({ alert }) => alert.rule === 'rotation_unheard')
  assert.deepEqual([unheard.actor, unheard.kid], ['webmail', 'B'])
  const late = await acting.alertOf(({ alert }) => alert.rule === 'rotation_late')
  assert.deepEqual([late.reason, late.kid], ['overdue', 'A'])
})

test('T119: only reports that an enrolled validator signed count, each once', async () => {
  const { key, name } = gateway
  const sighting: Sighting = {
    verdict: 'receipt_missing',
    at: Date.now(),
    signatureValid: true,
    network: 'replayed',
  }
  const report = (change: object = {}) => ({
    id: randomBytes(16).toString('base64url'),
    issuedAt: Math.floor(Date.now() / 1000),
    dropped: 0,
    sightings: [sighting],
    ...change,
  })
  const enrolment = { name, privateKey: key.privateKey }
  const stranger = createTestKey('EdDSA')
  const refused: readonly [body: string, status: number][] = [
    [signReport(report(), { name: 'nobody', privateKey: stranger.privateKey }), 401],
    [signReport(report(), { name, privateKey: stranger.privateKey }), 401],
    [tamper(signReport(report(), enrolment)), 401],
    [signReport(report({ issuedAt: Date.now() / 1000 - 301 }), enrolment), 400],
    [signReport(report({ issuedAt: Math.floor(Date.now() / 1000) - 400 }), enrolment), 401],
    [signReport(report({ issuedAt: Math.floor(Date.now() / 1000) + 400 }), enrolment), 401],
    [signReport(report({ sightings: Array.from({ length: 257 }, () => sighting) }), enrolment), 400],
    [signReport(report({ id: 'short' }), enrolment), 400],
    [sentinel.world.issue(), 400],
    ['', 400],
  ]
  for (const [body, status] of refused) assert.equal(await post(body), status)
  assert.ok(!(await sentinel.alerts()).some(({ actor }) => actor === 'replayed'))
  const good = signReport(report(), enrolment)
  assert.equal(await post(good), 204)
  assert.equal(await post(good), 204)
  const alert = (await sentinel.alerts()).find(({ actor }) => actor === 'replayed')
  assert.equal(alert?.count, 1)
  // Whoever names a report as another validator's hides none of it.
  const taken = await sentinel.enrol('taken')
  const same = report({ sightings: [{ ...sighting, network: 'behind' }] })
  await post(signReport({ ...same, sightings: [] }, { name: 'taken', privateKey: taken.key.privateKey }))
  await post(signReport(same, enrolment))
  assert.ok((await sentinel.alerts()).some(({ actor }) => actor === 'behind'))
})

test('T268: a validator that had to drop sightings is an alert, since what it dropped may have been evidence', async () => {
  const { key, name } = gateway
  const report = {
    id: randomBytes(16).toString('base64url'),
    issuedAt: Math.floor(Date.now() / 1000),
    sightings: [],
  }
  await post(signReport({ ...report, dropped: 7 }, { name, privateKey: key.privateKey }))
  const alert = (await sentinel.alerts()).find(({ rule }) => rule === 'sightings_dropped')
  assert.equal(alert?.actor, 'gateway')
})

test('T237: a report holds nothing of the token', async () => {
  const token = sentinel.world.issue({
    claims: { sub: 'a-person', email: 'a.person@mail.example' },
    receipt: null,
  })
  const bodies: string[] = []
  const [reporterFetch] = [globalThis.fetch]
  globalThis.fetch = async (input, init) => {
    if (String(input).endsWith('/sightings')) bodies.push(String(init?.body))
    return reporterFetch(input, init)
  }
  try {
    gateway.decide(token, { network: '198.51.100.7' })
    await gateway.reporter.flush()
  } finally {
    globalThis.fetch = reporterFetch
  }
  const sent = Buffer.from(bodies[0]?.split('.')[1] ?? '', 'base64url').toString()
  assert.match(sent, /receipt_missing/)
  for (const secret of ['a-person', 'a.person', token.split('.')[2] ?? '', token.split('.')[1] ?? ''])
    assert.ok(!sent.includes(secret))
})

test('alerts survive a restart, the newest first, in pages', async (t) => {
  const lasting = await begin(t, { policy: watchOnly })
  const webmail = await lasting.enrol('webmail')
  for (const network of ['a', 'b', 'c']) webmail.decide(lasting.world.issue({ receipt: null }), { network })
  await webmail.reporter.flush()
  const earlier = await lasting.alerts()
  await lasting.restart()
  assert.deepEqual(await lasting.alerts(), earlier)
  assert.deepEqual(
    earlier.map(({ id }) => id),
    [3, 2, 1],
  )
  const page = await fetch(new URL('/alerts?limit=1&before=3', lasting.url))
  assert.deepEqual(await page.json(), [earlier[1]])
  for (const query of ['limit=0', 'limit=x', 'limit=100000', 'before=-1'])
    assert.equal((await fetch(new URL(`/alerts?${query}`, lasting.url))).status, 400)
})

test('T267: whoever was away for long is sent all that they missed, in order', async (t) => {
  const busy = await begin(t, { policy: watchOnly })
  const { name, key } = await busy.enrol('webmail')
  const count = 2500
  for (let at = 0; at < count; at += REPORT_SIGHTINGS_MAX) {
    const sightings = Array.from({ length: Math.min(REPORT_SIGHTINGS_MAX, count - at) }, (): Sighting => {
      const kid = createHash('sha256').update(randomBytes(16)).digest('base64url')
      return { verdict: 'receipt_missing', at: 1, realm: 'consumer', kid, signatureValid: true }
    })
    const report = { id: randomBytes(16).toString('base64url'), dropped: 0, sightings }
    const statement = signReport(
      { ...report, issuedAt: Math.floor(Date.now() / 1000) },
      { name, privateKey: key.privateKey },
    )
    assert.equal(await post(statement, busy), 204)
  }
  const ids: number[] = []
  for await (const { alert } of followAlerts(busy.url, { after: 0 })) if (ids.push(alert.id) === count) break
  assert.deepEqual(
    ids,
    Array.from({ length: count }, (_, n) => n + 1),
  )
})

function addKey(change: object): TestKey {
  const { world } = sentinel
  const key = createTestKey('ES256')
  world.publish(({ keys }) => ({ keys: [...keys, world.draftKey(key, 'consumer', change)] }))
  return key
}

function tamper(token: string): string {
  return token.slice(0, -8) + (token.endsWith('AAAAAAAA') ? 'BBBBBBBB' : 'AAAAAAAA')
}

function altered(entry: Uint8Array): Uint8Array {
  const copy = Uint8Array.from(entry)
  copy[80] = (copy[80] ?? 0) ^ 1
  return copy
}

async function post(body: string, { url } = sentinel): Promise<number> {
  const headers = { 'content-type': 'application/jwt' }
  const response = await fetch(new URL('/sightings', url), { method: 'POST', headers, body })
  await response.arrayBuffer()
  return response.status
}

async function logSize({ url }: TestSentinel): Promise<number> {
  const metrics = await (await fetch(new URL('/metrics', url))).text()
  return Number(/countersign_log_entries\{[^}]*\} (\d+)/.exec(metrics)?.[1] ?? 0)
}

/** Asks until the answer fits. */
async function until<Answer>(ask: () => Promise<Answer>, fits: (answer: Answer) => boolean): Promise<Answer> {
  for (;;) {
    const answer = await ask()
    if (fits(answer)) return answer
    await turn()
  }
}

test('T120 R2: a gateway that takes a canary of a killed key is an alert, one that is away a warning, one that refuses none', async () => {
  const { kid } = sentinel.world.keys.enterprise
  const result = { milliseconds: 5, is_real: true, reason: null }
  sentinel.proofs = [
    {
      version: 7,
      kid,
      at: Math.floor(Date.now() / 1000),
      state: 'done',
      results: [
        { ...result, name: 'deaf', outcome: 'accepted' },
        { ...result, name: 'away', outcome: 'unreachable' },
        { ...result, name: 'honest', outcome: 'refused', reason: 'key_blocked' },
      ],
    },
    {
      version: 6,
      kid,
      at: Math.floor(Date.now() / 1000) - 601,
      state: 'done',
      results: [{ ...result, name: 'long ago', outcome: 'accepted' }],
    },
  ]
  const isOurs = ({ rule }: { rule: Rule }): boolean => rule === 'kill_not_enforced'
  await sentinel.alertOf(({ alert }) => isOurs(alert) && alert.actor === 'deaf')
  await sentinel.alertOf(({ alert }) => isOurs(alert) && alert.actor === 'away')
  const alerts = (await sentinel.alerts()).filter(isOurs)
  assert.deepEqual(
    alerts.map(({ actor, severity, reason, realm }) => [actor, severity, reason, realm]).sort(),
    [
      ['away', 'warning', 'canary_unreachable', 'enterprise'],
      ['deaf', 'critical', 'canary_accepted', 'enterprise'],
    ],
  )
  sentinel.proofs = []
})

test('T120 R2: canaries need no exception: refused for a killed key, a real one and an unsigned one raise no alarm', async () => {
  const { world } = sentinel
  const key = [...world.state.manifest.keys.values()].find(({ kid }) => kid === world.keys.consumer.kid)
  const real = world.issue({ claims: { sub: 'canary', client_id: 'canary', scope: undefined } })
  const before = await sentinel.alerts()
  world.setState(world.keys.consumer.kid, 'blocked')
  sentinel.tell()
  for (const token of [real, unsignedCanary(key as ManifestKey, mailAudience, world.now)]) {
    const decision = gateway.decide(token)
    assert.equal(decision.accepted ? '' : decision.refusal.reason, 'key_blocked')
  }
  await gateway.reporter.flush()
  assert.deepEqual(await sentinel.alerts(), before)
  // The same key in a thief's hands is as loud as ever, whatever it calls itself.
  gateway.decide(world.issue({ claims: { sub: 'canary', client_id: 'canary' }, receipt: null }))
  await gateway.reporter.flush()
  await sentinel.alertOf(
    ({ alert }) => alert.rule === 'inactive_key_used' && alert.kid === world.keys.consumer.kid,
  )
  world.setState(world.keys.consumer.kid, 'active')
  sentinel.tell()
})
