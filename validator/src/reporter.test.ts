/**
 * Goal: evidence reaches the sentinel at once and is never lost to a flood, a slow sentinel or one that is away; and
 * reporting never costs unbounded memory. Method: a sentinel on loopback that answers as the test wants, and real
 * reports read back.
 */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { after, before, beforeEach, test } from 'node:test'
import { createReporter, type Reporter } from './reporter.ts'
import { REPORT_SIGHTINGS_MAX, type Report, type Sighting, verifyReport } from './sighting.ts'
import { createTestKey } from './testing.ts'

const key = createTestKey('EdDSA')
const enrolment = { name: 'gateway', privateKey: key.privateKey }
const reports: Report[] = []
let answer: (report: Report) => number | Promise<number> = () => 204
let server: Server
let reporter: Reporter

before(async () => {
  server = createServer(async (request, response) => {
    const report = await verifyReport(await text(request), async () => key.jwk)
    reports.push(report)
    response.writeHead(await answer(report)).end()
    server.emit('report')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
})
beforeEach(() => {
  reports.length = 0
  answer = () => 204
  reporter = open()
})
after(() => {
  server.close()
  server.closeAllConnections()
})

test('a refusal is sent at once, alone', async () => {
  reporter.report(refused())
  await once(server, 'report')
  assert.deepEqual(
    reports.map(({ validator, sightings }) => [validator, sightings.length]),
    [['gateway', 1]],
  )
  await reporter.stop()
})

test('acceptances go in batches; a full one does not wait for its time', async () => {
  for (let n = 0; n < REPORT_SIGHTINGS_MAX; n++) reporter.report({ verdict: 'accepted', at: n })
  await once(server, 'report')
  assert.equal(reports[0]?.sightings.length, REPORT_SIGHTINGS_MAX)
  await reporter.stop()
})

test('T262 T271: a flood of garbage takes bounded room, and pushes no evidence out', async () => {
  answer = () => 503
  for (let n = 0; n < 100_000; n++)
    reporter.report({ verdict: 'signature_invalid', at: n, signatureValid: false })
  reporter.report(refused())
  for (let n = 0; n < 100_000; n++) reporter.report({ verdict: 'unknown_key', at: n })
  await assert.rejects(reporter.flush())
  answer = () => 204
  reports.length = 0
  await reporter.flush()
  const sightings = reports.flatMap((report) => report.sightings)
  const dropped = reports.reduce((sum, report) => sum + report.dropped, 0)
  assert.equal(sightings.filter(({ verdict }) => verdict === 'receipt_missing').length, 1)
  assert.ok(sightings.length < 2048)
  assert.equal(sightings.length + dropped, 200_001)
  await reporter.stop()
})

test('evidence leaves before what came earlier and proves less', async () => {
  const held = Promise.withResolvers<number>()
  answer = () => held.promise
  reporter.report({ verdict: 'unknown_key', at: 0 })
  for (let n = 0; n < 300; n++) reporter.report({ verdict: 'unknown_key', at: n })
  reporter.report(refused())
  answer = () => 204
  const flushed = reporter.flush()
  held.resolve(204)
  await flushed
  assert.equal(reports[0]?.sightings[0]?.verdict, 'receipt_missing')
  await reporter.stop()
})

test('T268: what was not taken is sent again as the same report, signed anew', async () => {
  let now = 1_800_000_000
  reporter = open(() => now)
  for (const status of [503, 401, 500]) {
    answer = () => status
    reporter.report(refused())
    await assert.rejects(reporter.flush(), /answered/)
    now += 60
  }
  answer = () => 204
  await reporter.flush()
  const [first, second] = reports
  assert.equal(first?.id, second?.id)
  assert.notEqual(first?.issuedAt, second?.issuedAt)
  const taken = reports.slice(3).flatMap(({ sightings }) => sightings)
  assert.equal(taken.length, 3)
  await reporter.stop()
})

for (const status of [400, 413])
  test(`a report that the sentinel answers with ${status} stops none behind it, and is told of as lost`, async () => {
    answer = () => (reports.length === 1 ? status : 204)
    reporter.report(refused())
    reporter.report(refused())
    await reporter.flush()
    reporter.report(refused())
    await reporter.flush()
    assert.deepEqual(
      reports.map(({ sightings, dropped }) => [sightings.length, dropped]),
      [
        [2, 0],
        [0, 2],
        [1, 0],
      ],
    )
    await reporter.stop()
  })

test('of an answer nothing is read but its status, however long it is', async () => {
  const endless = createServer((_request, response) => {
    response.writeHead(200)
    const more = (): void => {
      while (response.write(Buffer.alloc(65_536)));
    }
    response.on('drain', more)
    more()
  }).listen(0, '127.0.0.1')
  await once(endless, 'listening')
  const url = `http://127.0.0.1:${(endless.address() as AddressInfo).port}`
  const telling = createReporter({ sentinel: url, enrolment })
  telling.report(refused())
  await telling.flush()
  await telling.stop()
  endless.close()
})

test('a sentinel that is away costs the validator nothing, and stop does not wait for it', async () => {
  const nobody = createReporter({ sentinel: 'http://127.0.0.1:9', enrolment })
  nobody.report(refused())
  await assert.rejects(nobody.flush())
  await nobody.stop()
  nobody.report(refused())
})

test('stop delivers what is queued', async () => {
  reporter.report({ verdict: 'accepted', at: 1 })
  await reporter.stop()
  assert.equal(reports[0]?.sightings.length, 1)
})

function open(now?: () => number): Reporter {
  return createReporter({
    sentinel: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    enrolment,
    now,
  })
}

function refused(): Sighting {
  return { verdict: 'receipt_missing', at: 1, kid: key.kid, signatureValid: true, receiptValid: false }
}
