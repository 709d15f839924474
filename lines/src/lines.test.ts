/**
 * Goal: whatever a peer sends, or however the connection ends, each call settles once and the process lives.
 * Method: two ends of real Unix sockets in a temporary folder; hostile peers write raw bytes.
 */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import fc from 'fast-check'
import {
  connectLines,
  type Handler,
  keepConnected,
  LineError,
  type LineServer,
  type Peer,
  serveLines,
} from './lines.ts'

const folder = mkdtempSync(join(tmpdir(), 'lines-'))
after(() => rmSync(folder, { recursive: true }))
let sockets = 0

async function withServer(
  handlers: Record<string, Handler>,
  work: (path: string, server: LineServer) => Promise<void>,
): Promise<void> {
  const path = join(folder, `${sockets++}.sock`)
  const server = await serveLines(path, handlers)
  try {
    await work(path, server)
  } finally {
    await server.close()
  }
}

async function withPeer(
  handlers: Record<string, Handler>,
  work: (peer: Peer, path: string) => Promise<void>,
): Promise<void> {
  await withServer(handlers, async (path) => {
    const peer = await connectLines(path)
    await work(peer, path)
    peer.close()
    await peer.closed
  })
}

async function rawSocket(path: string): Promise<Socket> {
  const socket = connect(path)
  await once(socket, 'connect')
  return socket
}

test('a call is answered with what the handler returns, in any order', async () => {
  const gate = Promise.withResolvers<void>()
  const handlers = {
    slow: async () => {
      await gate.promise
      return 'slow'
    },
    fast: (params: { readonly n: number }) => {
      gate.resolve()
      return { twice: params.n * 2 }
    },
    nothing: () => undefined,
  }
  await withPeer(handlers, async (peer) => {
    const slow = peer.call('slow', null)
    assert.deepEqual(await peer.call('fast', { n: 21 }), { twice: 42 })
    assert.equal(await slow, 'slow')
    assert.equal(await peer.call('nothing', null), null)
  })
})

test('text of any kind survives, in lines of any length', async () => {
  await withPeer({ echo: (params: unknown) => params }, async (peer) => {
    await fc.assert(
      fc.asyncProperty(fc.jsonValue(), async (value) => {
        const sent = JSON.parse(JSON.stringify(value)) as unknown
        assert.deepEqual(await peer.call('echo', sent), sent)
      }),
      { seed: 7, numRuns: 200 },
    )
    const long = 'ä€😀'.repeat(300_000)
    assert.equal(await peer.call('echo', long), long)
  })
})

test('T237: only what was written for the other side reaches it', async () => {
  const handlers = {
    refuse: () => {
      throw new LineError('rate_limited', 'later', { retryable: true })
    },
    fail: () => {
      throw new Error('the key is 0123456789abcdef')
    },
  }
  await withPeer(handlers, async (peer) => {
    await assert.rejects(peer.call('refuse', {}), { code: 'rate_limited', message: 'later', retryable: true })
    await assert.rejects(peer.call('fail', {}), { code: 'fault', message: 'the request failed here' })
    await assert.rejects(peer.call('toString', {}), { code: 'unknown_method' })
  })
})

test('T222: the socket opens for its user alone, and the mask of the process stays', async () => {
  const mask = process.umask()
  await withServer({}, async (path) => {
    assert.equal(statSync(path).mode & 0o777, 0o600)
    assert.equal(process.umask(), mask)
  })
})

test('a stale socket is replaced; one that somebody serves, and any other file, is not', async () => {
  const path = join(folder, 'taken.sock')
  const server = await serveLines(path, { who: () => 'first' })
  await assert.rejects(serveLines(path, {}), /another process listens/)
  const peer = await connectLines(path)
  assert.equal(await peer.call('who', {}), 'first')
  await server.close()

  const file = join(folder, 'keystore.age')
  writeFileSync(file, 'precious')
  await assert.rejects(serveLines(file, {}), { code: 'EADDRINUSE' })
  assert.equal(statSync(file).size, 8)
})

test('a call that waits rejects when the connection goes, and so does each later one', async () => {
  await withServer({ never: () => new Promise(() => {}) }, async (path, server) => {
    const peer = await connectLines(path)
    const waiting = assert.rejects(peer.call('never', {}), { code: 'disconnected', retryable: true })
    await server.close()
    await waiting
    await peer.closed
    await assert.rejects(peer.call('never', {}), { code: 'disconnected' })
    await assert.rejects(connectLines(path), { code: 'ENOENT' })
  })
})

test('a connection that is reset ends its calls, not the process', async () => {
  const path = join(folder, 'reset.sock')
  const server = createServer({ pauseOnConnect: true })
  server.listen(path)
  await once(server, 'listening')
  const connection = once(server, 'connection')
  const peer = await connectLines(path)
  const [accepted] = (await connection) as [Socket]
  const waiting = assert.rejects(peer.call('never', 'x'.repeat(4096)), { code: 'disconnected' })
  await nextTurn()
  await nextTurn()
  // Closing a Unix socket with bytes unread is a reset, which the other end sees as an error.
  accepted.destroy()
  await waiting
  await peer.closed
  server.close()
})

test('T265: a call with a limit gives up, and what comes too late is dropped', async () => {
  const gate = Promise.withResolvers<string>()
  await withPeer({ late: () => gate.promise, now: () => 'now' }, async (peer) => {
    await assert.rejects(peer.call('late', {}, 1), { code: 'timeout', retryable: true })
    gate.resolve('late')
    assert.equal(await peer.call('now', {}, 10_000), 'now')
  })
})

test('what was said before the end still arrives', async () => {
  const heard = Promise.withResolvers<unknown>()
  await withServer({ last: (params: unknown) => heard.resolve(params) }, async (path) => {
    const peer = await connectLines(path)
    const call = assert.rejects(peer.call('last', 'word'), { code: 'disconnected' })
    peer.close()
    assert.equal(await heard.promise, 'word')
    await call
  })
})

test('T265: a kept line rejects while nobody listens, and connects anew when somebody does', async () => {
  const path = join(folder, 'kept.sock')
  const line = keepConnected(path, 10_000)
  await assert.rejects(line.connect(), { code: 'disconnected', retryable: true })
  await assert.rejects(line.call('who', {}), { code: 'disconnected', retryable: true })
  for (const name of ['first', 'second']) {
    const server = await serveLines(path, { who: () => name, never: () => new Promise(() => {}) })
    assert.equal(await line.call('who', {}), name)
    const waiting = assert.rejects(line.call('never', {}), { code: 'disconnected' })
    await server.close()
    await waiting
  }
  await assert.rejects(line.connect(), { code: 'disconnected' })
  line.close()
  await assert.rejects(line.connect(), { code: 'disconnected' })
})

for (const [name, bytes] of [
  ['no JSON', 'GET / HTTP/1.1\n'],
  ['JSON without an id', '{"method":"echo"}\n'],
  ['a bare value', '"id"\n'],
  ['an array', '[1,2]\n'],
  ['an empty line', '\n'],
  ['a line without an end', 'x'.repeat(17 * 1024 * 1024)],
] as const) {
  test(`a peer that sends ${name} is cut off, and others are served on`, async () => {
    await withPeer({ echo: (params: unknown) => params }, async (peer, path) => {
      const hostile = await rawSocket(path)
      // The cut may come while the bytes are still on their way.
      hostile.on('error', () => {})
      hostile.resume()
      hostile.write(bytes)
      await new Promise((resolve) => hostile.once('close', resolve))
      assert.equal(await peer.call('echo', 'still here'), 'still here')
    })
  })
}

test('an answer to a call that nobody made is ignored', async () => {
  await withPeer({ echo: (params: unknown) => params }, async (_peer, path) => {
    const hostile = await rawSocket(path)
    hostile.write(
      '{"id":99,"result":1}\n{"id":"x","error":{"code":"a"}}\n{"id":5,"method":"echo","params":"a"}\n',
    )
    const [answer] = (await once(hostile, 'data')) as [Buffer]
    assert.equal(answer.toString(), '{"id":5,"result":"a"}\n')
    hostile.destroy()
  })
})

for (const answer of ['"error":null', '"result":1,"error":null', '"error":7', '"error":{}']) {
  test(`an answer with ${answer} settles its call, and the process lives`, async () => {
    const path = join(folder, `${sockets++}.sock`)
    const server = createServer((socket) => socket.end(`{"id":1,${answer}}\n`)).listen(path)
    await once(server, 'listening')
    const peer = await connectLines(path)
    await assert.rejects(peer.call('ping', {}), LineError)
    await peer.closed
    server.close()
  })
}

test('a peer that asks without ever reading is cut off before it fills our memory', async () => {
  const answer = 'x'.repeat(4 * 1024 * 1024)
  await withPeer({ much: () => answer, echo: (params: unknown) => params }, async (peer, path) => {
    const hostile = await rawSocket(path)
    hostile.on('error', () => {})
    hostile.pause()
    hostile.write('{"id":1,"method":"much"}\n'.repeat(40))
    await peer.call('echo', 'still here')
    hostile.resume()
    await new Promise((resolve) => hostile.once('close', resolve))
    assert.equal(await peer.call('echo', 'still here'), 'still here')
  })
})

test('a kept connection waits for nobody: it says that nobody listens, and works once somebody does', async () => {
  const path = join(folder, `${sockets++}.sock`)
  const line = keepConnected(path, 5000)
  await assert.rejects(line.call('ping', {}), { code: 'disconnected', retryable: true })
  for (let restart = 0; restart < 2; restart++) {
    const server = await serveLines(path, { ping: () => restart })
    assert.equal(await line.call('ping', {}), restart)
    await server.close()
    await assert.rejects(line.call('ping', {}), { code: 'disconnected' })
  }
  line.close()
})

test('a kept connection gives up on a listener that does not answer, and once closed stays closed', async () => {
  await withServer({ ping: () => 1, hang: () => new Promise(() => {}) }, async (path) => {
    const line = keepConnected(path, 20)
    await assert.rejects(line.call('hang', {}), { code: 'timeout', retryable: true })
    assert.equal(await line.call('ping', {}), 1)
    line.close()
    await assert.rejects(line.call('ping', {}), { code: 'disconnected' })
  })
})
