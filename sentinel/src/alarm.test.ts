/**
 * Goal: findings become few alerts that lose nothing, and orders to block that are neither forgotten nor repeated.
 * Method: a book of alerts over a database in memory and a clock that the test turns.
 */

import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { createTestWorld } from '@countersign/validator/testing'
import { type Alarm, createAlarm, OTHER_ACTORS } from './alarm.ts'
import type { Alert, Finding } from './alert.ts'
import type { Policy } from './config.ts'
import { type Database, openStore } from './store.ts'

const HOUR = 3_600_000
const world = createTestWorld()
const { kid } = world.keys.consumer
const policy: Policy = {
  auto_block: ['receipt_missing'],
  silent_seconds: 60,
  merge_delay_seconds: 3,
  retention_days: 1,
}
const databases: Database[] = []
after(() => Promise.all(databases.map((database) => database.destroy())))

test('T267: the same rule, key and actor is one alert; another of any of them is another', async () => {
  const { alarm, raise } = await open()
  await raise(found(), found(), found({ seenAt: 9 }))
  await raise(found())
  const alike = await alarm.list(10)
  assert.deepEqual(
    alike.map(({ count, first_seen_ms, last_seen_ms }) => ({ count, first_seen_ms, last_seen_ms })),
    [{ count: 4, first_seen_ms: 1, last_seen_ms: 1 }],
  )
  await raise(
    found({ rule: 'out_of_scope' }),
    found({ kid: 'B' }),
    found({ actor: 'b' }),
    found({ severity: 'warning' }),
  )
  await raise(found({ kid: null, actor: null }))
  assert.equal((await alarm.list(10)).length, 6)
})

test('A3: an alarm about broken glass is raised anew each time, for each realm, and never put together with others', async () => {
  const { alarm, raise } = await open()
  const heard: boolean[] = []
  alarm.onAlert((_alert, isNew) => heard.push(isNew))
  const broken = (realm: string): Finding =>
    found({ rule: 'break_glass', reason: 'glass_broken', realm, kid: null, actor: 'olga' })
  for (let minute = 0; minute < 60; minute++) await raise(broken('consumer'), broken('enterprise'))
  const alerts = await alarm.list(1000)
  assert.equal(alerts.length, 120)
  assert.ok(
    alerts.every(({ count, actor, rule }) => count === 1 && actor === 'olga' && rule === 'break_glass'),
  )
  assert.deepEqual(
    heard,
    alerts.map(() => true),
  )
})

test('after an hour of quiet the same is a new alert', async () => {
  const { alarm, raise, clock } = await open()
  await raise(found())
  clock.now += HOUR - 1
  await raise(found())
  clock.now += HOUR - 1
  await raise(found())
  assert.equal((await alarm.list(10)).length, 1)
  clock.now += HOUR
  await raise(found())
  assert.equal((await alarm.list(10)).length, 2)
})

test('T267: a key that is used from everywhere has few alerts, and none of its uses is lost', async () => {
  const { alarm, raise } = await open()
  for (let n = 0; n < 1000; n++) await raise(found({ actor: `2001:db8::${n.toString(16)}` }))
  const alerts = await alarm.list(1000)
  assert.equal(alerts.length, 17)
  assert.equal(alerts[0]?.actor, OTHER_ACTORS)
  assert.equal(alerts[0]?.count, 984)
})

test('who listens hears of a new alert once, and of a repeated one each time its count has doubled', async () => {
  const { alarm, raise } = await open()
  const heard: [boolean, number][] = []
  const leave = alarm.onAlert(({ count }, isNew) => heard.push([isNew, count]))
  for (let n = 0; n < 20; n++) await raise(found())
  leave()
  await raise(found({ actor: 'b' }))
  assert.deepEqual(heard, [
    [true, 1],
    [false, 2],
    [false, 4],
    [false, 8],
    [false, 16],
  ])
})

test('what is not committed is neither stored nor told', async () => {
  const { alarm } = await open()
  const heard: Alert[] = []
  alarm.onAlert((alert) => heard.push(alert))
  const failing = alarm.record(async (session) => {
    await session.insertInto('reports').values({ id: 'a', received_ms: 1 }).execute()
    throw new Error('the disk is full')
  })
  await assert.rejects(failing)
  assert.deepEqual(await alarm.list(10), [])
  assert.deepEqual(heard, [])
})

test('R5: the policy orders a block once, and again only if the key is live after it was blocked', async () => {
  const { database, raise } = await open()
  const orders = async () => {
    const rows = await database.selectFrom('blocks').selectAll().execute()
    return rows.map(({ kid, reason, version }) => ({ kid, reason, version }))
  }
  await raise(found({ reason: 'issuer_mismatch' }))
  await raise(found({ kid: null }))
  // A key that is not ours: nobody would know whose is meant.
  await raise(found({ realm: null }))
  assert.deepEqual(await orders(), [])
  await raise(found(), found())
  assert.deepEqual(await orders(), [{ kid, reason: 'receipt_missing', version: null }])

  // Carried out by a manifest that the sentinel has not seen yet: more evidence changes nothing.
  const version = world.state.manifest.version + 1
  await database.updateTable('blocks').set({ version }).execute()
  await raise(found())
  assert.equal((await orders())[0]?.version, version)
  world.setState(kid, 'blocked')
  await raise(found())
  assert.equal((await orders())[0]?.version, version)

  // Two people lifted it, and the thief is still there.
  world.setState(kid, 'active')
  await raise(found())
  assert.equal((await orders())[0]?.version, null)
})

test('R5: a block that the authority refused is ordered again when evidence comes later, since what was wrong may be mended', async () => {
  const { database, raise, clock } = await open()
  const failureOf = async () =>
    (await database.selectFrom('blocks').select('failure').executeTakeFirstOrThrow()).failure
  await raise(found())
  const failed = { failure: 'command_not_authorised', settled_ms: clock.now }
  await database.updateTable('blocks').set(failed).execute()
  await raise(found())
  assert.equal(await failureOf(), 'command_not_authorised')
  clock.now += 60_000
  await raise(found())
  assert.equal(await failureOf(), null)
})

test('alerts go to the webhook only where there is one', async () => {
  const { database, raise } = await open({ isDelivered: true })
  await raise(found(), found({ actor: 'b' }))
  await raise(found())
  const deliveries = await database.selectFrom('deliveries').select('alert_id').execute()
  assert.deepEqual(
    deliveries.map(({ alert_id }) => alert_id),
    [1, 2],
  )
  const without = await open()
  await without.raise(found())
  assert.deepEqual(await without.database.selectFrom('deliveries').selectAll().execute(), [])
})

interface Opened {
  readonly database: Database
  readonly alarm: Alarm
  readonly clock: { now: number }
  raise(...findings: Finding[]): Promise<void>
}

async function open({ isDelivered = false } = {}): Promise<Opened> {
  const database = await openStore(':memory:')
  databases.push(database)
  const clock = { now: 1_800_000_000_000 }
  const alarm = createAlarm({ database, policy, trust: world.trust, isDelivered, now: () => clock.now })
  return { database, alarm, clock, raise: (...findings) => alarm.record(async () => findings) }
}

function found(change: Partial<Finding> = {}): Finding {
  return {
    rule: 'receipt_missing',
    severity: 'critical',
    reason: 'receipt_missing',
    realm: 'consumer',
    kid,
    actor: '203.0.113.1',
    validator: 'gateway',
    seenAt: 1,
    ...change,
  }
}
