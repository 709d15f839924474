/**
 * Goal: what the witness tells of its roots reaches the validators that want it and nobody else, holds up no manifest, and
 * cannot be more than it is. Method: streams over HTTP beside a witness that tells what the test wants; streams without a
 * network where one has to be slow.
 */

import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import type { ServerResponse } from 'node:http'
import { test } from 'node:test'
import { ROOTS_CHARACTERS_MAX } from '@countersign/validator/roots'
import { createStreams } from './stream.ts'
import { startTestAuthority, type TestAuthority } from './testing.ts'

const rootsOf = (event: string): string => /^event: roots\ndata: (.*)$/.exec(event)?.[1] ?? event

/** A new version, so that whatever was sent before has come when it comes. */
async function publish({ command, world, manifest }: TestAuthority): Promise<void> {
  await command({ op: 'cutoff', realm: 'consumer', before: world.now + manifest.version, reason: 'test' })
}

test('streams that ask get what the witness tells, byte for byte, and the others do not', async (t) => {
  const authority = await startTestAuthority(t)
  const [plain, wanting, other] = await Promise.all([
    authority.stream('gateway'),
    authority.stream('webmail', '&roots=1'),
    authority.stream('other', '&roots=1'),
  ])
  await Promise.all([plain, wanting, other].map((stream) => stream.next('manifest')))
  authority.witness.tell('eyJh.first._-0', 'eyJh.second.x')
  for (const stream of [wanting, other]) {
    assert.equal(rootsOf(await stream.next()), 'eyJh.first._-0')
    assert.equal(rootsOf(await stream.next()), 'eyJh.second.x')
  }
  authority.witness.tell('eyJh.third.x')
  assert.equal(rootsOf(await wanting.next('roots')), 'eyJh.third.x')
  await publish(authority)
  assert.match(await plain.next(), /^event: manifest\n/)
  await Promise.all([plain, wanting, other].map((stream) => stream.close()))
})

test('whoever connects later gets nothing of before: a manifest waits behind no replay', async (t) => {
  const authority = await startTestAuthority(t)
  const first = await authority.stream('gateway', '&roots=1')
  authority.witness.tell('eyJh.old.x')
  await first.next('roots')
  const second = await authority.stream('webmail', '&roots=1')
  await second.next('manifest')
  authority.witness.tell('eyJh.new.x')
  assert.equal(rootsOf(await second.next()), 'eyJh.new.x')
  await Promise.all([first.close(), second.close()])
})

test('while nobody wants roots the witness is not asked for any', async (t) => {
  const authority = await startTestAuthority(t)
  const stream = await authority.stream('gateway')
  for (const more of ['&roots=0', '&roots=', '&roots=1&roots=1']) {
    await (await authority.stream('other', more)).close()
  }
  await stream.next('manifest')
  await publish(authority)
  await stream.next('manifest')
  assert.equal(authority.witness.rootsAsked, 0)
  await stream.close()
})

test('what is no compact JWS of a size in its range is left out: it could end its event and begin another', async (t) => {
  const authority = await startTestAuthority(t)
  const stream = await authority.stream('gateway', '&roots=1')
  await stream.next('manifest')
  authority.witness.tell(
    'eyJh\n\nevent: manifest\ndata: {}',
    'eyJh.\r.x',
    'eyJh.ä.x',
    '',
    'x'.repeat(ROOTS_CHARACTERS_MAX + 1),
    'eyJh.good.x',
  )
  assert.equal(rootsOf(await stream.next()), 'eyJh.good.x')
  await stream.close()
})

test('T265: a witness that was away is asked again, and manifests do not wait for it', async (t) => {
  const authority = await startTestAuthority(t)
  const stream = await authority.stream('gateway', '&roots=1')
  await stream.next('manifest')
  await authority.witness.close()
  await authority.witness.open()
  await publish(authority)
  assert.match(await stream.next(), /^event: manifest\n/)
  authority.witness.tell('eyJh.again.x')
  assert.equal(rootsOf(await stream.next('roots')), 'eyJh.again.x')
  await stream.close()
})

/** A stream that takes nothing until it is told to. */
class SlowResponse extends EventEmitter {
  useChunkedEncodingByDefault = true
  isDestroyed = false
  readonly written: string[] = []
  #taken = 0

  get writableLength(): number {
    return this.written.join('').length - this.#taken
  }

  writeHead(): this {
    return this
  }

  write(bytes: Buffer): void {
    this.written.push(bytes.toString())
  }

  take(): void {
    this.#taken = this.written.join('').length
  }

  destroy(): void {
    this.isDestroyed = true
  }
}

test('T118: a stream that lags gets no more roots, so that a kill waits behind a quarter of a mebibyte at most', () => {
  const streams = createStreams()
  const slow = new SlowResponse()
  streams.open(slow as unknown as ServerResponse, { validator: 'gateway', wantsRoots: true }, [])
  slow.take()
  const statement = 'x'.repeat(60_000)
  for (let at = 0; at < 100; at++) streams.send({ event: 'roots', data: statement })
  assert.ok(slow.writableLength < 256 * 1024 + 2 * statement.length)
  streams.send({ event: 'manifest', data: '{}' })
  assert.equal(slow.written.at(-1), 'event: manifest\ndata: {}\n\n')
  slow.take()
  streams.send({ event: 'roots', data: 'eyJh.b.c' })
  assert.equal(rootsOf(slow.written.at(-1)?.trim() ?? ''), 'eyJh.b.c')
  assert.equal(slow.isDestroyed, false)
})
