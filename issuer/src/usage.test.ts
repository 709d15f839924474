/**
 * Goal: what clients get is counted without slowing a grant, and reaches the sentinel once, whatever happens on the way.
 * Method: a sentinel that the test plays, which can be away.
 */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import { eventually } from '@countersign/validator/eventually'
import { type UsageReport, verifyUsage } from '@countersign/validator/key-usage'
import { createTestKey, createTestWorld, tenants } from '@countersign/validator/testing'
import { createUsage } from './usage.ts'

const key = createTestKey('EdDSA')
const enrolment = { name: 'consumer', privateKey: key.privateKey }
const world = createTestWorld()

async function start(context: TestContext, statuses: number[] = []) {
  const reports: UsageReport[] = []
  const server = createServer(async (request, response) => {
    const report = await verifyUsage(await text(request), async () => key.jwk)
    const status = statuses.shift() ?? 204
    reports.push(report)
    response.writeHead(status).end()
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  context.after(() => server.close())
  const problems: Error[] = []
  const usage = createUsage({
    sentinel: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    enrolment,
    now: () => 1000,
    onProblem: (problem) => problems.push(problem),
  })
  return { usage, reports, problems }
}

test('R6 F13: tokens are counted by key, tenant and client, and told of together', async (context) => {
  const { usage, reports } = await start(context)
  const [first, second] = [world.issue(), world.issue({ realm: 'enterprise' })]
  for (const token of [first, first, second]) usage.count(token, tenants.home, 'web')
  usage.count(first, tenants.home, 'service')
  await usage.stop()
  const [report, ...more] = reports
  assert.equal(more.length, 0)
  assert.equal(report?.validator, 'consumer')
  const { consumer, enterprise } = world.keys
  const row = { tenant: tenants.home, lastIssuedAt: 1000 }
  assert.deepEqual(report?.clients, [
    { ...row, kid: consumer.kid, client: 'web', tokens: 2 },
    { ...row, kid: enterprise.kid, client: 'web', tokens: 1 },
    { ...row, kid: consumer.kid, client: 'service', tokens: 1 },
  ])
})

test('what was not taken is told again under the same name, and apart from what came since', async (context) => {
  context.mock.timers.enable({ apis: ['setTimeout'] })
  const { usage, reports, problems } = await start(context, [503])
  usage.count(world.issue(), tenants.home, 'web')
  context.mock.timers.tick(1000)
  await eventually(() => problems.length > 0)
  usage.count(world.issue(), tenants.home, 'web')
  context.mock.timers.tick(5000)
  await eventually(() => reports.length >= 2)
  assert.equal(reports[1]?.id, reports[0]?.id)
  assert.deepEqual(reports[1]?.clients, reports[0]?.clients)
  await usage.stop()
  assert.equal(reports.length, 3)
  assert.notEqual(reports[2]?.id, reports[0]?.id)
})

test('nothing is told where nothing was issued, and a flood of clients stays within a report', async (context) => {
  const { usage, reports } = await start(context)
  await usage.stop()
  assert.equal(reports.length, 0)
  const { usage: flooded, reports: told } = await start(context)
  const token = world.issue()
  for (let client = 0; client < 1500; client++) flooded.count(token, tenants.home, `client-${client}`)
  await flooded.stop()
  assert.equal(told[0]?.clients.length, 1000)
})
