/**
 * Goal: a realm comes into a running system by a few lines of configuration and two people's approval: tokens of the others flow on,
 * and its first token is accepted by a service of that realm before anything is started anew; what needs a new start is what
 * was said to need one. Its keys can then be moved like those of any realm. Method: `countersign up`, the commands that operators
 * type, the realm's socket as its issuer uses it, and a service that is enrolled as the documentation says.
 */

import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, before, test } from 'node:test'
import { type Broker, connectBroker } from '@countersign/broker/client'
import { type RunningSystem, startLoad, startSystem } from '@countersign/cli/client'
import type { LineError } from '@countersign/lines'
import { type ConnectedValidator, connectValidator } from '@countersign/validator/connect'
import { eventually } from '@countersign/validator/eventually'
import { readCompact } from '@countersign/validator/jws'
import { countersign } from '../cli/src/testing.ts'

const folder = mkdtempSync(join(tmpdir(), 'countersign-realm-'))
const data = join(folder, 'data')
const file = join(folder, 'countersign.json')
const issuer = 'https://login.partner.example'
const tenant = '55555555-5555-4555-8555-555555555555'
const partner = { issuer, tenants: [tenant] }
let system: RunningSystem
let service: ConnectedValidator
let broker: Broker

async function run(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await countersign([...args, '--ready', join(data, 'ready.json')])
  assert.equal(code, 0, `${args.join(' ')}: ${stdout}${stderr}`)
  return stdout
}

before(async () => {
  system = await startSystem(data, { logLevel: 'error' })
  const own = join(folder, 'orders')
  await run('validator', 'enrol', '--name', 'orders', '--folder', own)
  service = connectValidator({
    realm: 'partner',
    audience: system.ready.gateway.audience,
    authority: system.ready.authority.url,
    trustAnchorFile: join(own, 'trust-anchor.json'),
    stateFolder: join(own, 'state'),
    enrolment: { name: 'orders', keyFile: join(own, 'enrolment.json') },
  })
  await service.whenReady(10_000)
})
after(async () => {
  broker?.close()
  await service?.stop()
  await system?.stop()
  rmSync(folder, { recursive: true, force: true })
})

/** As the realm's issuer asks for one. */
async function issue(): Promise<string> {
  const now = Math.floor(Date.now() / 1000)
  const names = {
    iss: issuer,
    aud: system.ready.gateway.audience,
    sub: 'user-1',
    client_id: 'shop',
    tid: tenant,
  }
  const claims = { ...names, scope: 'mail.read', iat: now, exp: now + 300 }
  return (await broker.issue({ type: 'access', claims, alg: 'RS256' })).token
}

async function atGateway(token: string): Promise<string> {
  const answer = await fetch(`${system.ready.gateway.url}/auth`, {
    headers: { authorization: `Bearer ${token}` },
  })
  return answer.headers.get('x-countersign-reason') ?? String(answer.status)
}

let id = ''

test('1. K11: a configuration is drafted into the next charter, which says what comes and what needs a new start', async () => {
  writeFileSync(file, JSON.stringify({ elsewhere: { partner } }))
  const declined = await countersign(
    ['charter', 'propose', '--config', file, '--ready', join(data, 'ready.json')],
    { input: 'n\n' },
  )
  assert.deepEqual([declined.code, /not proposed/.test(declined.stderr)], [2, true])
  assert.equal(existsSync(join(data, 'config', 'proposed.json')), false)
  const proposed = await run('charter', 'propose', '--config', file, '--yes')
  assert.match(proposed, /realms\.partner\.issuers .*: with "https:\/\/login\.partner\.example"/)
  assert.match(proposed, /realms\.partner\.signers .*: with [\w-]{43} \(EdDSA\)/)
  assert.doesNotMatch(proposed, /realms\.(consumer|enterprise)|NO KEY/)
  assert.match(
    proposed,
    /the next start of countersign up goes by this file, if it has been approved by then/,
  )
  id = /proposal ([0-9a-f]{32}),/.exec(proposed)?.[1] ?? ''
  const socket = JSON.parse(await run('charter', 'show', '--payload')).realms
  assert.deepEqual(Object.keys(socket), ['consumer', 'enterprise'], 'one person alone changes nothing')
})

test('2. K11: a second person approves, and the first token of the realm is accepted by a service of the realm, while others flow', async (t) => {
  const load = startLoad(system.ready)
  t.after(load.stop)
  const startedAt = performance.now()
  const approved = await run('approve', id, '--operator', 'omar', '--yes')
  assert.match(approved, /carried out: approved by olga, omar/)
  broker = await connectBroker(join(data, 'run', 'broker-partner.sock'))
  let token = ''
  await eventually(async () => {
    token = await issue().catch(({ code }: LineError) => {
      assert.equal(code, 'no_active_key')
      return ''
    })
    return token !== ''
  })
  await eventually(() => service.decide(token).accepted)
  const accepted = service.validate(token)
  t.diagnostic(`accepted ${Math.round(performance.now() - startedAt)} ms after the second person began`)
  assert.deepEqual([accepted.issuer, accepted.tenant, accepted.subject], [issuer, tenant, 'user-1'])
  assert.equal(readCompact(token).header['alg'], 'RS256')
  assert.equal(await atGateway(token), 'key_out_of_scope', 'as was said')
  await load.until(({ shown }) => shown > 20)
  await load.stop()
  assert.deepEqual(load.failures, [])
})

test('3. what was approved counts at the next start without a word, and what was not is refused', async () => {
  await system.stop()
  const more = join(folder, 'more.json')
  writeFileSync(
    more,
    JSON.stringify({ elsewhere: { partner, other: { ...partner, issuer: 'https://x.example' } } }),
  )
  let said = ''
  const vain = startSystem(data, { args: ['--config', more], onOutput: (text) => (said += text) })
  await assert.rejects(vain, /ended at its start \(exit 2\)/)
  assert.match(said, /has no realm other: it changes by approval/)
  said = ''
  system = await startSystem(data, { onOutput: (text) => (said += text) })
  assert.match(said, /the configuration that was proposed has been approved, and counts from now on/)
  assert.equal(system.ready.elsewhere['partner']?.issuer, issuer)
  assert.equal(await atGateway(await issue()), '200')
  await system.stop()
  system = await startSystem(data)
  assert.equal(await atGateway(await issue()), '200', 'and at each start after that')
})

test('4. K1: its keys are moved to another keystore like those of any realm, and no token fails', async () => {
  const old = system.ready.keystores['partner'] ?? ''
  const to = join(data, 'signers', 'partner-next', 'keystore.age')
  const where = ['--ready', join(data, 'ready.json'), '--to', to] as const
  const migrating = ['key', 'migrate', '--realm', 'partner', ...where] as const
  const people = ['--operator', 'olga', '--operator', 'omar', '--early'] as const
  let isOver = false
  const answers: string[] = []
  const using = (async () => {
    while (!isOver) answers.push(await atGateway(await issue()))
  })()
  // Heard below.
  using.catch(() => {})
  const until = /the last tokens of the old keys expire/
  const { stdout } = await countersign([...migrating, ...people], { until })
  isOver = true
  assert.match(stdout, until)
  await using
  assert.deepEqual([...new Set(answers)], ['200'])
  const moved = await run(...migrating, ...people, '--revoke')
  assert.match(moved, /partner signs in .*partner-next.keystore\.age/)
  assert.equal(existsSync(dirname(old)), false)
  assert.equal(await atGateway(await issue()), '200')
  const nobody = await countersign(['key', 'migrate', '--realm', 'nobody', ...where])
  assert.deepEqual([nobody.code, /--realm REALM: .*partner/.test(nobody.stderr)], [2, true], nobody.stderr)
})
