/**
 * Goal: what has ended is told though the issuer dies at the worst moment, under the same name however often, and nothing
 * of what receivers entrusted to it comes out on the way (T218). Method: an issuer as a process of its own over one folder,
 * killed with a signal that nothing can catch: before an answer, after the receiver took a SET in, and at moments spread
 * over a sign-out; each time started anew, and asked by the receiver's own memory.
 */

import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { tenants } from '@countersign/validator/testing'
import { openIssuerDatabase } from '../issuer/src/schema.ts'
import { liveSessions } from '../issuer/src/signals/sessions.ts'
import { clientIds } from '../issuer/src/testing.ts'
import { type Arrived, type Receiver, startReceiver } from './ssf-receiver.ts'

const AUTHORIZATION = 'Bearer what-the-receiver-entrusted-to-us'

/** The issuer of the tests, with somebody at a browser, as a process of its own. */
const program = `
import { startTestIssuer } from './testing.ts'
import { authorize, exchangeCode, signIn } from './flows.ts'
import { FakeBrowser } from './fake-browser.ts'
const [, folder, port] = process.argv
const issuer = await startTestIssuer('consumer', { signals: true, folder, port: Number(port) })
let browser, tokens
const verbs = {
  signIn: async () => {
    browser = new FakeBrowser(issuer)
    const { url, verifier } = await authorize(issuer)
    const { url: answer } = await signIn(browser, url)
    tokens = await exchangeCode(issuer, { code: answer.searchParams.get('code'), verifier })
    return tokens.access_token
  },
  signOut: async () => {
    await browser.open(issuer.issuers[0] + '/logout?id_token_hint=' + tokens.id_token)
    await browser.submit({ logout: 'yes' })
  },
}
process.on('message', async (verb) => process.send({ [verb]: (await verbs[verb]()) ?? true }))
process.send({ ready: { url: issuer.url, issuer: issuer.issuers[0], secrets: issuer.secrets } })
`

interface Ready {
  readonly url: string
  readonly issuer: string
  readonly secrets: Readonly<Record<string, string>>
}

const folder = mkdtempSync(join(tmpdir(), 'signals-crash-'))
let child: ChildProcess
let ready: Ready
let receiver: Receiver
let output = ''

before(async () => {
  await start()
  receiver = await startReceiver({ [ready.issuer]: ready.url })
  await receiver.do('discover', { issuer: ready.issuer })
  await receiver.do('expect', { audience: clientIds.receiver, authorization: AUTHORIZATION })
  await receiver.authorize(clientIds.receiver, ready.secrets[clientIds.receiver] ?? '')
  const { status } = await receiver.call('POST', 'configuration_endpoint', {
    body: {
      delivery: {
        method: 'urn:ietf:rfc:8935',
        endpoint_url: await receiver.do('listen'),
        authorization_header: AUTHORIZATION,
      },
    },
  })
  assert.equal(status, 201)
})
after(async () => {
  await receiver?.stop()
  await kill()
  rmSync(folder, { recursive: true, force: true })
})

async function start(): Promise<void> {
  const port = ready === undefined ? '0' : new URL(ready.url).port
  child = spawn(process.execPath, ['--input-type=module', '-e', program, folder, port], {
    cwd: resolve(import.meta.dirname, '../issuer/src'),
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  })
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (text: Buffer) => {
      output += text.toString('utf8')
    })
  ready = (await answer('ready')) as Ready
}

async function kill(): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exited = once(child, 'exit')
  child.kill('SIGKILL')
  await exited
}

async function answer(name: string): Promise<unknown> {
  for (;;) {
    const [message] = (await once(child, 'message')) as [Readonly<Record<string, unknown>>]
    if (name in message) return message[name]
  }
}

async function signIn(): Promise<string> {
  child.send('signIn')
  const token = String(await answer('signIn'))
  const { sid } = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as {
    sid: string
  }
  return sid
}

function sidOf({ payload }: Arrived): string | undefined {
  return (payload.sub_id as { readonly session?: { readonly id: string } }).session?.id
}

test('1. killed before the receiver has taken anything, the issuer tells it when it is back', async () => {
  await receiver.do('stance', { stance: { status: 503 } })
  const sid = await signIn()
  child.send('signOut')
  await receiver.do('attempted', { count: 1 })
  await kill()
  await receiver.do('stance', {})
  await start()
  const [told, ...others] = await receiver.received(1)
  assert.equal(told && sidOf(told), sid)
  assert.deepEqual(others, [])
})

test('2. killed after the receiver took a SET in, the issuer sends it again under the same jti', async () => {
  await receiver.do('stance', { stance: { status: 0 } })
  const sid = await signIn()
  child.send('signOut')
  const [, first] = await receiver.received(2)
  await kill()
  await receiver.do('stance', {})
  await start()
  const [, , again] = await receiver.received(3)
  assert.equal(first && sidOf(first), sid)
  assert.equal(again?.jti, first?.jti)
})

test('3. killed at any moment of a sign-out, no session is gone that is not told of', async () => {
  const sids: string[] = []
  const ended: string[] = []
  // From before the first write to after the last, however slow the machine is.
  for (let moment = 0; moment < 12 || ended.length === 0; moment++) {
    const sid = await signIn()
    sids.push(sid)
    child.send('signOut')
    await delay(moment * 4)
    await kill()
    const database = await openIssuerDatabase(join(folder, 'issuer.sqlite'))
    const live = await liveSessions(database, tenants.home, Math.floor(Date.now() / 1000))
    await database.destroy()
    if (!live.some((session) => session.sid === sid)) ended.push(sid)
    await start()
  }
  // A last one, which ends in any case, comes after all that waited.
  const last = await signIn()
  child.send('signOut')
  await answer('signOut')
  let told: readonly Arrived[] = []
  for (let count = 4; !told.some((each) => sidOf(each) === last); count++)
    told = await receiver.received(count)
  const toldOf = new Set(told.map(sidOf))
  for (const sid of ended) assert.ok(toldOf.has(sid), `${sid} ended and was not told of`)
  console.log(`of ${sids.length} sign-outs that were cut short, ${ended.length} had ended the session`)
  assert.ok(ended.length < sids.length)
})

test('T217 no secret of a receiver, and no SET, stands in what the issuer wrote out', async () => {
  assert.match(output, /a signal did not arrive|Unsupported runtime|^$/m)
  for (const secret of [AUTHORIZATION, 'entrusted', ...(await receiver.received(0)).map(({ text }) => text)])
    assert.ok(!output.includes(secret))
})
