/**
 * Goal: a socket and a stream of events end with the token that opened them, say why, and hear or tell nothing after that.
 * Method: real ones on loopback, over a world of trust whose keys and news the test moves; every step waits for what the
 * other side sees.
 */

import assert from 'node:assert/strict'
import { EventEmitter, once } from 'node:events'
import { createServer, type IncomingMessage, request, type Server } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import { WebSocket, WebSocketServer } from 'ws'
import { createGuard } from './guard.ts'
import { type Guarded, protect as protectNode } from './node.ts'
import { type EventStream, respondEvents, streamEvents } from './sse.ts'
import { createTestWorld, mailAudience } from './testing.ts'
import { createValidator } from './validator.ts'
import { protect as protectSockets } from './websocket.ts'

function start() {
  const world = createTestWorld()
  const news = new EventEmitter()
  let age = 0
  const validator = createValidator({
    realm: ['consumer', 'enterprise'],
    audience: mailAudience,
    trust: {
      get state() {
        return world.state
      },
      ageSeconds: () => age,
      onNews: (listener: () => void) => {
        news.on('news', listener)
        return () => void news.off('news', listener)
      },
    },
    now: () => world.now,
  })
  return {
    world,
    validator,
    guard: createGuard(validator, { now: () => world.now }),
    held: () => news.listenerCount('news'),
    /** Each way in which a token ends, and what is then said. */
    ends: {
      key_blocked: () => {
        world.setState(world.keys.consumer.kid, 'blocked')
        news.emit('news')
      },
      issued_before_cutoff: () => {
        world.publish(() => ({ cutoffs: [{ realm: 'consumer', before: world.now + 1 }] }))
        news.emit('news')
      },
      expired: () => {
        world.now += 400
        news.emit('news')
      },
      manifest_stale: () => {
        age = 61
        news.emit('news')
      },
    },
  }
}

const reasons = ['key_blocked', 'issued_before_cutoff', 'expired', 'manifest_stale'] as const

async function listen(context: TestContext, server: Server): Promise<number> {
  await once(server.listen(0, '127.0.0.1'), 'listening')
  context.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

/** A service that says back what it hears, and what it knows of itself. */
async function startEcho(context: TestContext, world = start()) {
  const sockets = new WebSocketServer({ noServer: true })
  const opened: WebSocket[] = []
  const heard = new EventEmitter()
  const server = createServer()
  server.on(
    'upgrade',
    protectSockets(world.guard, sockets, (socket, { token }) => {
      opened.push(socket)
      socket.on('message', (message) => {
        heard.emit('message', String(message))
        socket.send(`${token.subject}: ${message}`)
      })
    }),
  )
  const port = await listen(context, server)
  context.after(() => {
    for (const socket of sockets.clients) socket.terminate()
  })
  const url = `ws://127.0.0.1:${port}`
  const join = (token: string): WebSocket =>
    new WebSocket(url, { headers: { authorization: `Bearer ${token}` } })
  return { ...world, port, opened, heard, join }
}

for (const reason of reasons) {
  test(`T252 R3: a socket is closed with the word ${reason}`, async (context) => {
    const { world, join, ends, held } = await startEcho(context)
    const socket = join(world.issue())
    await once(socket, 'open')
    socket.send('hello')
    assert.equal(String((await once(socket, 'message'))[0]), 'user-1: hello')
    const closed = once(socket, 'close')
    ends[reason]()
    const [code, word] = await closed
    assert.deepEqual([code, String(word)], [reason === 'expired' ? 4401 : 1008, reason])
    assert.equal(held(), 0)
  })
}

test('T252: a client that does not agree to the close is not heard any more', async (context) => {
  const { world, port, ends, heard, opened } = await startEcho(context)
  const raw = connect(port, '127.0.0.1')
  context.after(() => raw.destroy())
  raw.write(
    `GET / HTTP/1.1\r\nHost: service\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n` +
      `Sec-WebSocket-Key: ${Buffer.alloc(16).toString('base64')}\r\nAuthorization: Bearer ${world.issue()}\r\n\r\n`,
  )
  await readUntil(raw, (bytes) => bytes.includes('\r\n\r\n'))
  /** A text frame under a mask of zeros. */
  const say = (word: string): void =>
    void raw.write(Buffer.concat([Buffer.from([0x81, 0x80 | word.length, 0, 0, 0, 0]), Buffer.from(word)]))
  const messages: string[] = []
  heard.on('message', (message) => messages.push(message))
  const first = once(heard, 'message')
  say('before')
  await first
  const server = opened[0] as WebSocket
  ends.key_blocked()
  await readUntil(raw, (bytes) => bytes.includes('key_blocked'))
  say('after')
  // A ping is answered, so what came before it has been read.
  const pinged = once(server, 'ping')
  raw.write(Buffer.from([0x89, 0x80, 0, 0, 0, 0]))
  await pinged
  assert.deepEqual(messages, ['before'])
})

async function readUntil(socket: Socket, isEnough: (bytes: Buffer) => boolean): Promise<void> {
  let bytes = Buffer.alloc(0)
  while (!isEnough(bytes)) bytes = Buffer.concat([bytes, (await once(socket, 'data'))[0]])
}

test('a socket that ends by itself is held no longer, and others stay open', async (context) => {
  const { world, join, ends, held } = await startEcho(context)
  const [one, other, foreign] = [
    join(world.issue()),
    join(world.issue()),
    join(world.issue({ realm: 'enterprise' })),
  ]
  await Promise.all([one, other, foreign].map((socket) => once(socket, 'open')))
  // The server holds in the very callback that opens; a message shows that it got there.
  for (const socket of [one, other, foreign]) {
    socket.send('here')
    await once(socket, 'message')
  }
  assert.equal(held(), 3)
  one.terminate()
  const closed = once(other, 'close')
  ends.key_blocked()
  assert.equal((await closed)[0], 1008)
  foreign.send('still')
  assert.equal(String((await once(foreign, 'message'))[0]), 'user-1: still')
  foreign.close()
  await once(foreign, 'close')
})

test('T252: a token that dies during the handshake opens nothing that stays', async (context) => {
  const all = start()
  const { world } = all
  const guard = {
    ...all.guard,
    admit: async (asked: Parameters<typeof all.guard.admit>[0]) => {
      const admission = await all.guard.admit(asked)
      world.setState(world.keys.consumer.kid, 'revoked')
      return admission
    },
  }
  const { join } = await startEcho(context, { ...all, guard })
  const [code, word] = await once(join(world.issue()), 'close')
  assert.deepEqual([code, String(word)], [1008, 'key_revoked'])
})

test('a client that leaves while it is asked who it is ends nothing but itself', async (context) => {
  const all = start()
  const asked = new EventEmitter()
  const guard = {
    ...all.guard,
    admit: async (incoming: Parameters<typeof all.guard.admit>[0]) => {
      const admission = all.guard.admit(incoming)
      asked.emit('asked')
      await once(asked, 'go on')
      return admission
    },
  }
  const { port, world, join } = await startEcho(context, { ...all, guard })
  const heard = once(asked, 'asked')
  const raw = connect(port, '127.0.0.1')
  raw.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')
  await heard
  raw.resetAndDestroy()
  await once(raw, 'close')
  asked.emit('go on')
  const again = once(asked, 'asked')
  const socket = join(world.issue())
  await again
  asked.emit('go on')
  await once(socket, 'open')
  socket.close()
  await once(socket, 'close')
})

/** A service that streams, and how it is asked. */
async function startStream(context: TestContext, world = start()) {
  const streams = new EventEmitter()
  const server = createServer(
    protectNode(world.guard, (asked: Guarded<IncomingMessage>, response) => {
      streams.emit('opened', streamEvents(world.guard, asked.token, response))
    }),
  )
  const port = await listen(context, server)
  const open = async (token: string): Promise<{ events: EventStream; answer: IncomingMessage }> => {
    const opened = once(streams, 'opened') as Promise<[EventStream]>
    const headers = { authorization: `Bearer ${token}` }
    const outgoing = request({ host: '127.0.0.1', port, agent: false, headers })
    const answered = once(outgoing, 'response') as Promise<[IncomingMessage]>
    outgoing.end()
    const [[events], [answer]] = await Promise.all([opened, answered])
    answer.setEncoding('utf8')
    answer.on('error', () => {})
    return { events, answer }
  }
  return { ...world, open }
}

async function restOf(answer: IncomingMessage): Promise<string> {
  let all = ''
  for await (const chunk of answer) all += chunk
  return all
}

for (const reason of reasons) {
  test(`T252 R3: a stream ends with the word ${reason}, and tells nothing after it`, async (context) => {
    const { world, open, ends, held } = await startStream(context)
    const { events, answer } = await open(world.issue())
    assert.deepEqual(
      [answer.statusCode, answer.headers['content-type'], answer.headers['cache-control']],
      [200, 'text/event-stream', 'no-store'],
    )
    events.send({ id: '1', event: 'mail', data: { subject: 'one\ntwo' } })
    const over = once(events.signal, 'abort')
    ends[reason]()
    events.send({ data: 'too late' })
    await over
    events.send({ data: 'too late' })
    assert.equal(
      await restOf(answer),
      `id: 1\nevent: mail\ndata: {"subject":"one\\ntwo"}\n\nevent: end\ndata: {"reason":"${reason}"}\n\n`,
    )
    assert.equal(held(), 0)
  })
}

test('a stream whose reader leaves is over, and is held no longer', async (context) => {
  const { world, open, held } = await startStream(context)
  const { events, answer } = await open(world.issue())
  assert.equal(held(), 1)
  const over = once(events.signal, 'abort')
  answer.destroy()
  await over
  assert.equal(held(), 0)
})

test('a stream that is closed ends without a last word; what is sent cannot begin another field', async (context) => {
  const { world, open, held } = await startStream(context)
  const { events, answer } = await open(world.issue())
  events.send({ id: '1\ndata: x', event: 'a\r\nretry: 1', data: undefined })
  events.close()
  assert.equal(await restOf(answer), 'id: 1data: x\nevent: aretry: 1\ndata: null\n\n')
  assert.equal(held(), 0)
})

test('T271: a reader that does not read is cut off', async (context) => {
  const { world, open } = await startStream(context)
  const { events, answer } = await open(world.issue())
  answer.pause()
  for (let sent = 0; sent < 100 && !events.signal.aborted; sent++)
    events.send({ data: 'x'.repeat(1024 * 1024) })
  assert.equal(events.signal.aborted, true)
})

test('T252: the same for an answer of Fetch', async () => {
  const { world, validator, guard, ends, held } = start()
  const { response, events } = respondEvents(guard, validator.validate(world.issue()))
  events.send({ data: 1 })
  ends.key_blocked()
  events.send({ data: 2 })
  assert.equal(await response.text(), 'data: 1\n\nevent: end\ndata: {"reason":"key_blocked"}\n\n')
  assert.equal(held(), 0)

  const other = start()
  const left = respondEvents(other.guard, other.validator.validate(other.world.issue()))
  await left.response.body?.cancel()
  assert.equal(left.events.signal.aborted, true)
  left.events.send({ data: 1 })

  const slow = respondEvents(other.guard, other.validator.validate(other.world.issue()))
  for (let sent = 0; sent < 3; sent++) slow.events.send({ data: 'x'.repeat(1024 * 1024) })
  assert.equal(slow.events.signal.aborted, true)
  await assert.rejects(slow.response.text(), /unread/)
  assert.equal(other.held(), 0)
})
