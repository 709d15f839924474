/**
 * Goal: every validator that listens hears of each manifest, and hears in time that there is none newer. Method: streams
 * over HTTP, read as they come; what they carry is compared with what anybody can get.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { verifyFreshness } from '@countersign/validator/freshness'
import { verifyManifest } from '@countersign/validator/manifest'
import { startTestAuthority } from './testing.ts'

/** The `data` of an event, and its `id`. */
function parse(event: string): { id: string | undefined; data: string } {
  const lines = new Map(event.split('\n').map((line) => line.split(': ', 2) as [string, string]))
  return { id: lines.get('id'), data: lines.get('data') ?? '' }
}

test('a stream starts with the newest manifest and brings each later one, as GET /manifest has it', async (t) => {
  const authority = await startTestAuthority(t)
  const streams = await Promise.all(['gateway', 'webmail'].map((name) => authority.stream(name)))
  for (const version of [1, 2, 3]) {
    const events = await Promise.all(streams.map((stream) => stream.next('manifest')))
    assert.equal(events[0], events[1])
    const { id, data } = parse(events[0] as string)
    assert.equal(id, String(version))
    assert.deepEqual(JSON.parse(data), (await authority.get('manifest')).body)
    const { freshness, ...document } = JSON.parse(data)
    assert.equal(verifyManifest(document, authority.world.charter).version, version)
    assert.equal(verifyFreshness(freshness, authority.world.charter).version, version)
    await authority.command({ op: 'cutoff', realm: 'consumer', before: version, reason: 'test' })
  }
  await Promise.all(streams.map((stream) => stream.close()))
})

test('a stream opened before the first manifest brings it when it is made', async (t) => {
  const authority = await startTestAuthority(t, { isFirstMade: false })
  const stream = await authority.stream('gateway')
  await authority.broker.open()
  await authority.witness.open()
  assert.equal(parse(await stream.next('manifest')).id, '1')
  await stream.close()
})

test('T115: the newest manifest is vouched for again and again, as of that moment', async (t) => {
  const authority = await startTestAuthority(t, { freshnessSeconds: 0.1 })
  const stream = await authority.stream('gateway')
  await stream.next('manifest')
  authority.world.now += 7
  // One may have been under way when the clock was turned.
  await stream.next('freshness')
  const { data } = parse(await stream.next('freshness'))
  const { version, manifestSha256, issuedAt } = verifyFreshness(data, authority.world.charter)
  assert.deepEqual([version, issuedAt], [1, authority.world.now])
  assert.equal(manifestSha256, authority.running.publisher.newest?.sha256)
  await stream.close()
})

test('T122: nothing on the way may keep a manifest', async (t) => {
  const authority = await startTestAuthority(t)
  for (const path of ['manifest', 'charter', 'acks']) {
    const { headers } = await fetch(`${authority.url}/${path}`)
    assert.equal(headers.get('cache-control'), 'no-store', path)
  }
})

test('stopping ends the streams', async (t) => {
  const authority = await startTestAuthority(t)
  const stream = await authority.stream('gateway')
  await stream.next('manifest')
  await authority.stop()
  await assert.rejects(stream.next('manifest'))
})
