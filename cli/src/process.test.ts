/**
 * Goal: a service that cannot start says why to whoever started it, one that ends by itself is missed, and none is left
 * behind. Method: the gateway as a real process, with configurations that are wrong and one that is right.
 */

import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { startFakeAuthority } from '@countersign/validator/fake-authority'
import { createTestWorld } from '@countersign/validator/testing'
import { writePrivate } from './files.ts'
import { initService, Services } from './process.ts'

const folder = mkdtempSync(join(tmpdir(), 'countersign-process-'))
const cache = join(folder, 'cache')
const world = createTestWorld({ now: Math.floor(Date.now() / 1000) })
const authority = await startFakeAuthority(world)
after(async () => {
  await authority.stop()
  rmSync(folder, { recursive: true })
})

function writeConfig(change: object = {}): string {
  const file = (name: string, content: object): string => {
    writePrivate(join(folder, name), content)
    return join(folder, name)
  }
  const { privateKey } = generateKeyPairSync('ed25519')
  return file('gateway.json', {
    listen: { port: 0 },
    realms: ['consumer'],
    audience: 'https://mail.example',
    authority: authority.url,
    trust_anchor: file('anchor.json', world.trustAnchor),
    state: folder,
    enrolment: { name: 'gateway', key: file('key.json', privateKey.export({ format: 'jwk' })) },
    ...change,
  })
}

function open() {
  const { promise: ended, resolve } = Promise.withResolvers<string>()
  const services = new Services({
    cache,
    onLine: () => {},
    onEnd: (label, how) => resolve(`${label}: ${how}`),
  })
  return { services, ended }
}

test('T239 a service that refuses its configuration is quoted with the member that is wrong', async () => {
  const { services } = open()
  await assert.rejects(services.start('gateway', 'the gateway', writeConfig({ audiance: 'x' })), {
    message: /^the gateway ended \(exit 1\) at its start\n.*Unrecognized key/,
  })
  await services.stop(1000)
})

test('a service that ends by itself is reported, one that is stopped is not', async () => {
  const { services, ended } = open()
  await services.start('gateway', 'gateway', writeConfig())
  const [pid] = services.pids
  process.kill(pid ?? 0, 'SIGKILL')
  assert.equal(await ended, 'gateway: SIGKILL')

  const other = open()
  other.ended.then(() => assert.fail('nobody ended by itself'))
  await other.services.start('gateway', 'gateway', writeConfig())
  await other.services.stop(4000)
  assert.deepEqual(other.services.pids, [])
})

test('one that is still starting is stopped too, and no other is started', async () => {
  const { services } = open()
  const starting = assert.rejects(services.start('gateway', 'gateway', writeConfig()), /ended \(SIGTERM\)/)
  await services.stop(4000)
  await starting
  assert.deepEqual(services.pids, [])
  await assert.rejects(services.start('gateway', 'gateway', writeConfig()), /being stopped/)
})

test('a service that cannot make its keys says why', async () => {
  const args = ['--data', join(folder, 'sentinel')]
  await initService('sentinel', cache, args)
  await assert.rejects(
    initService('sentinel', cache, args),
    /^Error: sentinel could not make its keys: [\s\S]*EEXIST/,
  )
  await assert.rejects(
    initService('signer', cache, ['--realm', 'a', '--keystore', 'b', '--passphrase-file', 'c']),
    {
      message: /^signer could not make its keys: [^{]*\(ENOENT\)$/,
    },
  )
})
