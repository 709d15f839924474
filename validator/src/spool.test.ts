/**
 * Goal: what a validator saw reaches the sentinel, whatever becomes of the validator's process or of the sentinel in
 * between; each sighting under one id, so that it counts once. Method: reporters that are processes of their own, killed at
 * every point between seeing and being told that it was taken; a sentinel on loopback that answers as the test wants, or not
 * at all; and the folder between them read and spoilt.
 */

import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs, {
  appendFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { createServer, type Server } from 'node:http'
import { syncBuiltinESMExports } from 'node:module'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { after, before, beforeEach, test } from 'node:test'
import { createReporter } from './reporter.ts'
import { REPORT_SIGHTINGS_MAX, type Report, type Sighting, verifyReport } from './sighting.ts'
import { createSpool } from './spool.ts'
import { createTestKey } from './testing.ts'

const key = createTestKey('EdDSA')
const enrolment = { name: 'gateway', privateKey: key.privateKey }
const reports: Report[] = []
/** Undefined: the request is taken, and nothing is answered. */
let answer: number | undefined = 204
let server: Server
let sentinel = ''
let folder = ''

before(async () => {
  server = createServer(async (request, response) => {
    reports.push(await verifyReport(await text(request), async () => key.jwk))
    server.emit('report')
    if (answer !== undefined) response.writeHead(answer).end()
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  sentinel = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
beforeEach(() => {
  reports.length = 0
  answer = 204
  folder = mkdtempSync(join(tmpdir(), 'countersign-spool-'))
})
after(() => {
  server.close()
  server.closeAllConnections()
})

test('T268 nothing is lost to kill -9 while the sentinel is away, at once and over several deaths', async () => {
  answer = 503
  for (const round of [0, 1, 2]) await dieAfter(round * 1000, 600)
  answer = 204
  reports.length = 0
  await deliverRest()
  assert.deepEqual(
    seenTimes(),
    [0, 1, 2].flatMap((round) => times(round * 1000, 600)),
  )
  assert.deepEqual(readdirSync(folder), [])
})

test('T268 what the sentinel took before the death comes again under the same id, and with nothing else', async () => {
  answer = undefined
  const came = once(server, 'report')
  const dying = start(0, 3)
  await Promise.all([came, saw(dying)])
  dying.kill('SIGKILL')
  await once(dying, 'exit')
  const [before] = reports.splice(0)
  answer = 204
  await deliverRest()
  const again = reports.find(({ id }) => id === before?.id)
  assert.deepEqual(again?.sightings, before?.sightings)
  const eachOnce = new Map([before, ...reports].map((report) => [report?.id, report?.sightings ?? []]))
  assert.deepEqual(
    [...eachOnce.values()]
      .flat()
      .map(({ at }) => at)
      .sort((a, b) => a - b),
    times(0, 3),
  )
})

test('a line that was not finished, files that are no batches and a batch with nothing in it do no harm', async () => {
  answer = 503
  await dieAfter(0, 2)
  for (const name of readdirSync(folder)) appendFileSync(join(folder, name), '{"verdict":"receipt_mi')
  writeFileSync(join(folder, 'notes.txt'), 'of somebody else')
  writeFileSync(join(folder, `${'1'.repeat(15)}-evidence-${'A'.repeat(22)}`), 'nonsense\n{}\n')
  answer = 204
  reports.length = 0
  await deliverRest()
  assert.deepEqual(seenTimes(), times(0, 2))
  assert.deepEqual(readdirSync(folder), ['notes.txt'])
})

test('T262 T271: what waits is bounded on disk, evidence apart from acceptances, and noise never gets there', () => {
  const spool = createSpool({ folder })
  const added = { accepted: 0, receipt_missing: 0, unknown_key: 0 }
  for (let n = 0; n < 300_000; n++) {
    if (spool.add({ verdict: 'accepted', at: n })) added.accepted++
    if (n % 3 === 0 && spool.add(refused(n))) added.receipt_missing++
    if (spool.add({ verdict: 'unknown_key', at: n })) added.unknown_key++
  }
  spool.close()
  assert.deepEqual(added, {
    accepted: 1024 * REPORT_SIGHTINGS_MAX,
    receipt_missing: 256 * REPORT_SIGHTINGS_MAX,
    unknown_key: 4 * REPORT_SIGHTINGS_MAX,
  })
  const sizes = readdirSync(folder).map((name) => {
    const { size, mode } = statSync(join(folder, name))
    assert.equal(mode & 0o777, 0o600)
    return size
  })
  assert.ok(sizes.reduce((sum, size) => sum + size) < 100e6)
  assert.equal(createSpool({ folder }).next()?.sightings[0]?.verdict, 'receipt_missing')
  rmSync(folder, { recursive: true })
})

test('T271 a disk that takes nothing costs nothing but the safety from a death', async () => {
  const problems: Error[] = []
  const reporter = createReporter({
    sentinel,
    enrolment,
    folder,
    onProblem: (problem) => problems.push(problem),
  })
  rmSync(folder, { recursive: true })
  reporter.report(refused(1))
  reporter.report({ verdict: 'accepted', at: 2 })
  await reporter.flush()
  assert.deepEqual(seenTimes(), [1, 2])
  assert.ok(problems.length > 0)
  await reporter.stop()
})

test('T271 a disk that is full in the middle of a line, and is not any more, has each of them once', async () => {
  const problems: Error[] = []
  const { writeSync } = fs
  const spool = createSpool({ folder, onProblem: (problem) => problems.push(problem) })
  const add = async (at: number): Promise<void> => {
    spool.add({ verdict: 'accepted', at })
    // Written at the end of the turn in which it was seen.
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)))
  }
  for (let at = 0; at < 3 * REPORT_SIGHTINGS_MAX; at++) {
    // As Linux has it: as much as there is room for, and an error for the rest.
    let room = at % 5 === 0 ? (at / 5) % 30 : Number.POSITIVE_INFINITY
    fs.writeSync = ((file: number, bytes: Uint8Array, offset: number, length: number, position: number) => {
      if (room === 0) throw new Error('no space left')
      const written = Math.min(length, room)
      room -= written
      return writeSync(file, bytes, offset, written, position)
    }) as typeof writeSync
    syncBuiltinESMExports()
    await add(at)
  }
  fs.writeSync = writeSync
  syncBuiltinESMExports()
  spool.close()
  const seen: number[] = []
  const after = createSpool({ folder })
  for (let batch = after.next(); batch !== undefined; batch = after.next()) {
    seen.push(...batch.sightings.map(({ at }) => at))
    after.remove(batch)
  }
  assert.deepEqual(seen, times(0, 3 * REPORT_SIGHTINGS_MAX))
  assert.ok(problems.length > 100)
})

test('T262 T271: whoever shows a token that has expired again and again pushes no evidence out', () => {
  for (const room of [undefined, folder]) {
    const spool = createSpool({ folder: room })
    const expired: Sighting = { verdict: 'expired', at: 1, signatureValid: true, receiptValid: true }
    // Of an issuer that is not ours, as its receipt says nothing.
    const foreign: Sighting = { verdict: 'expired', at: 1, signatureValid: true }
    for (let n = 0; n < 70_000; n++) spool.add(n % 2 === 0 ? expired : foreign)
    assert.equal(spool.add(expired), false)
    assert.equal(spool.add(refused(2)), true)
    assert.equal(spool.add({ verdict: 'issuer_mismatch', at: 2, signatureValid: true }), true)
    assert.deepEqual(
      spool.next()?.sightings.map(({ at }) => at),
      [2, 2],
    )
    spool.close()
  }
  const kept = createSpool({ folder })
  const [evidence, expired] = [kept.next(), kept.next()]
  assert.equal(evidence?.sightings.length, 2)
  assert.equal(expired?.id, evidence?.id)
  kept.remove({ id: evidence?.id ?? '' })
  assert.equal(kept.next()?.sightings[0]?.verdict, 'expired')
})

test('T268: what cannot be read back for a moment is sent later, and holds up nothing', async () => {
  answer = 503
  await dieAfter(0, 4)
  const problems: Error[] = []
  const { readFileSync: read } = fs
  fs.readFileSync = (() => {
    throw Object.assign(new Error('too many open files'), { code: 'EMFILE' })
  }) as unknown as typeof read
  syncBuiltinESMExports()
  answer = 204
  reports.length = 0
  const onProblem = (problem: Error): void => void problems.push(problem)
  const reporter = createReporter({ sentinel, enrolment, folder, onProblem })
  reporter.report(refused(4))
  await reporter.flush()
  assert.deepEqual(seenTimes(), [4])
  assert.match(problems[0]?.message ?? '', /too many/)
  fs.readFileSync = read
  syncBuiltinESMExports()
  // Unasked.
  while (seenTimes().length < 5) await once(server, 'report')
  assert.deepEqual(seenTimes(), times(0, 5))
  await reporter.stop()
  assert.deepEqual(readdirSync(folder), [])
})

test('no token and no person is in the files', async () => {
  answer = 503
  await dieAfter(0, 1)
  const [name = ''] = readdirSync(folder)
  const [line = ''] = readFileSync(join(folder, name), 'utf8').split('\n')
  assert.deepEqual(Object.keys(JSON.parse(line)).sort(), [
    'at',
    'kid',
    'receipt_valid',
    'signature_valid',
    'verdict',
  ])
  rmSync(folder, { recursive: true })
})

/** Every other one accepted, so that both kinds are there. */
function start(first: number, count: number): ChildProcess {
  const code = `
    import { createReporter } from ${JSON.stringify(import.meta.resolve('./reporter.ts'))}
    import { createPrivateKey } from 'node:crypto'
    const privateKey = createPrivateKey({ key: ${JSON.stringify(key.privateKey.export({ format: 'jwk' }))}, format: 'jwk' })
    const reporter = createReporter({
      sentinel: ${JSON.stringify(sentinel)}, folder: ${JSON.stringify(folder)}, enrolment: { name: 'gateway', privateKey },
    })
    for (let at = ${first}; at < ${first + count}; at++)
      reporter.report(at % 2 === 0
        ? { verdict: 'receipt_missing', at, kid: 'a', signatureValid: true, receiptValid: false }
        : { verdict: 'accepted', at })
    setImmediate(() => setImmediate(() => process.stdout.write('seen')))
    setInterval(() => {}, 1000)`
  return spawn(process.execPath, ['--input-type=module', '-e', code], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
}

async function saw(child: ChildProcess): Promise<void> {
  await once(child.stdout ?? child, 'data')
}

async function dieAfter(first: number, count: number): Promise<void> {
  const child = start(first, count)
  await saw(child)
  child.kill('SIGKILL')
  await once(child, 'exit')
}

/** What a process after the last one sends unasked. */
async function deliverRest(): Promise<void> {
  const reporter = createReporter({ sentinel, enrolment, folder })
  await reporter.flush()
  await reporter.stop()
}

function seenTimes(): readonly number[] {
  const all = reports.flatMap(({ sightings }) => sightings.map(({ at }) => at))
  return all.sort((a, b) => a - b)
}

function times(first: number, count: number): readonly number[] {
  return Array.from({ length: count }, (_, n) => first + n)
}

function refused(at: number): Sighting {
  return { verdict: 'receipt_missing', at, kid: key.kid, signatureValid: true, receiptValid: false }
}
