/**
 * Goal: mail is read by good tokens alone, and whoever reads it is put out when his token is good no more. Method: Debian's
 * Dovecot, set up by the files of docs/proxies/dovecot.md, in front of a real gateway; IMAP by hand.
 */

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { after, before, test } from 'node:test'
import { createTestKey } from '../validator/src/testing.ts'
import { blockOf, type Edge, findProgram, type Server, startEdge, startServer } from './edge.ts'
import { freePort } from './ports.ts'

const program = findProgram('dovecot')
const skip = program === undefined && 'dovecot is not installed: see tools/debian.sh'
const page = 'dovecot.md'
let edge: Edge
let dovecot: Server

before(async () => {
  if (program === undefined) return
  const [port, api] = [await freePort(), await freePort()]
  const { clients } = JSON.parse(blockOf(page, 'json').replaceAll(':8001', `:${api}`))
  edge = await startEdge({ clients })
  const folder = join(edge.folder, 'dovecot')
  const place = (text: string): string =>
    text
      .replaceAll('127.0.0.1:8404', `127.0.0.1:${edge.gateway.port}`)
      .replaceAll('port = 8001', `port = ${api}`)
      .replaceAll('/etc/dovecot', folder)
  const user = process.getuid?.() === 0 ? 'nobody' : userInfo().username
  // As nobody may run it: what stands in Debian's own files is the same for users and places of the system.
  const files = {
    'dovecot.conf': `
protocols = imap
listen = 127.0.0.1
ssl = no
base_dir = ${folder}/run
state_dir = ${folder}/state
log_path = ${folder}/log
default_login_user = ${user}
default_internal_user = ${user}
default_internal_group = ${user === 'nobody' ? 'nogroup' : user}
mail_location = maildir:${folder}/mail/%u
userdb {
  driver = static
  args = uid=${user} gid=${user === 'nobody' ? 'nogroup' : user} home=${folder}/mail/%u
}
first_valid_uid = 1
service imap-login {
  chroot =
  inet_listener imap {
    port = ${port}
  }
  inet_listener imaps {
    port = 0
  }
}
service anvil {
  chroot =
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
service stats {
  chroot =
}
# Does not wait for each failed login of one address: they are many here, and all meant to fail.
auth_failure_delay = 0
!include 99-countersign.conf
`,
    '99-countersign.conf': place(blockOf(page, 'dovecot')),
    'countersign-oauth2.conf.ext': place(blockOf(page, 'ini')),
  }
  dovecot = await startServer(program, port, folder, files, ['-F', '-c', join(folder, 'dovecot.conf')])
})
after(async () => {
  await dovecot?.stop()
  await edge?.stop()
})

test('the page shows a secret and its hash that belong together', () => {
  const { clients } = JSON.parse(blockOf(page, 'json'))
  const [, secret = ''] = /dovecot:([^@]+)@/.exec(blockOf(page, 'ini')) ?? []
  assert.equal(clients[0].secret_sha256, createHash('sha256').update(secret).digest('base64url'))
})

test('a good token opens the mailbox of its owner, by either mechanism', { skip }, async () => {
  for (const mechanism of ['XOAUTH2', 'OAUTHBEARER'] as const) {
    const session = await logIn(edge.issue(), { mechanism })
    assert.match(session.greeting, /^a OK/)
    assert.match(await session.command('b SELECT INBOX'), /^b OK/)
    session.close()
  }
})

test('T202 T204 T066: what is hostile opens none', { skip }, async () => {
  const { world } = edge
  const good = edge.issue()
  const hostile = {
    expired: edge.issue({ claims: { iat: world.now - 600, exp: world.now - 300 } }),
    forged: edge.issue({ receipt: null }),
    'tampered with': `${good.slice(0, -8)}AAAAAAAA`,
    'for another audience': edge.issue({ claims: { aud: 'https://calendar.example' } }),
    'of another kind': edge.issue({ type: 'id' }),
    bound: edge.issue({ claims: { cnf: { jkt: createTestKey('ES256').kid } } }),
    none: '',
    'no token': 'a.b.c',
    'of many names': edge.issue({ claims: { sub: '*' } }),
  }
  for (const mechanism of ['XOAUTH2', 'OAUTHBEARER'] as const) {
    for (const [kind, token] of Object.entries(hostile)) {
      const session = await logIn(token, { mechanism, user: kind === 'of many names' ? '*' : 'user-1' })
      assert.match(session.greeting, /^a NO/, `${kind} by ${mechanism}`)
      session.close()
    }
    const other = await logIn(good, { mechanism, user: 'user-2' })
    assert.match(other.greeting, /^a NO/, "another's mailbox")
    other.close()
  }
  const password = await open()
  assert.match(await password.command('a LOGIN user-1 password'), /^a (NO|BAD)/)
  password.close()
})

test('T252: a session ends when its token expires, some seconds of tolerance later', {
  skip,
}, async (t) => {
  const session = await logIn(edge.issue({ claims: { exp: Math.floor(Date.now() / 1000) + 2 } }))
  assert.match(session.greeting, /^a OK/)
  const expiresAt = performance.now() + 2000
  await session.closed
  t.diagnostic(`put out ${(performance.now() - expiresAt).toFixed(0)} ms after the time in the token`)
})

test('T252 T254: the sessions of a killed key end within a second of the kill, and none is opened', {
  skip,
}, async (t) => {
  const token = edge.issue()
  const sessions = [
    await logIn(token),
    await logIn(edge.issue({ claims: { sub: 'user-2' } }), { user: 'user-2' }),
    // Dovecot knows people by names in lower case.
    await logIn(edge.issue({ claims: { sub: 'User-9' } }), { user: 'User-9' }),
    // Dovecot takes these for addresses, unless they are written otherwise.
    await logIn(edge.issue({ claims: { sub: '1234567' } }), { user: '1234567' }),
    await logIn(edge.issue({ claims: { sub: '192.0.2.7' } }), { user: '192.0.2.7' }),
  ]
  for (const { greeting } of sessions) assert.match(greeting, /^a OK/)
  const killedAt = edge.kill()
  await Promise.all(sessions.map(({ closed }) => closed))
  const milliseconds = performance.now() - killedAt
  t.diagnostic(`put out ${milliseconds.toFixed(0)} ms after the kill`)
  assert.ok(milliseconds < 1000, `${milliseconds} ms`)
  const again = await logIn(token)
  assert.match(again.greeting, /^a NO/)
  again.close()
})

interface Session {
  /** How the login was answered. */
  greeting: string
  readonly closed: Promise<unknown>
  command(line: string): Promise<string>
  close(): void
}

async function open(): Promise<Session> {
  const socket: Socket = connect(dovecot.port, '127.0.0.1').on('error', () => {})
  const lines = createInterface({ input: socket })[Symbol.asyncIterator]()
  const next = async (): Promise<string> => (await lines.next()).value ?? ''
  const session: Session = {
    greeting: await next(),
    closed: once(socket, 'close'),
    command: async (line) => {
      socket.write(`${line}\r\n`)
      const [tag = ''] = line.split(' ')
      for (;;) {
        const answer = await next()
        if (answer === '' || answer.startsWith(`${tag} `)) return answer
        // The error in JSON, which the client has to acknowledge (RFC 7628, section 3.2.3).
        if (answer.startsWith('+')) socket.write('AQ==\r\n')
      }
    },
    close: () => socket.destroy(),
  }
  return session
}

async function logIn(
  token: string,
  { mechanism = 'XOAUTH2', user = 'user-1' }: { mechanism?: 'XOAUTH2' | 'OAUTHBEARER'; user?: string } = {},
): Promise<Session> {
  const session = await open()
  const auth = `auth=Bearer ${token}\x01\x01`
  const response =
    mechanism === 'XOAUTH2' ? `user=${user}\x01${auth}` : `n,a=${user},\x01host=localhost\x01${auth}`
  session.greeting = await session.command(
    `a AUTHENTICATE ${mechanism} ${Buffer.from(response).toString('base64')}`,
  )
  return session
}
