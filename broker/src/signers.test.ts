/**
 * Goal: while a realm moves from one keystore to another, and back, no request fails and the signer that goes finishes what
 * it began. Method: a whole broker under steady load, whose configuration the test changes and has it read anew; one of the
 * keystores is a SoftHSM2 token where there is one.
 */

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { connectLines, LineError } from '@countersign/lines'
import { createSoftToken, missingSoftHsm } from '@countersign/signer/client'
import { importPublicJwk, type PublicJwk } from '@countersign/validator/jws'
import { issuers, mailAudience, realmTenants } from '@countersign/validator/testing'
import { createValidator } from '@countersign/validator/validator'
import { openBrokerAdmin, type SignerStatus } from './client.ts'
import type { KeystoreConfig } from './config.ts'
import { RealmSigners } from './signers.ts'
import type { SupervisedSigner } from './supervise.ts'
import { initSigner, startTestBroker } from './testing.ts'

const broker = await startTestBroker()
const admin = openBrokerAdmin(join(broker.folder, 'admin.sock'))
after(async () => {
  admin.close()
  await broker.stop()
})
const { world } = broker
const keystores = broker.config.realms['consumer']?.keystores as KeystoreConfig[]
const [first] = keystores as [KeystoreConfig]
const main = fileURLToPath(import.meta.resolve('@countersign/signer/client')).replace('client.ts', 'main.ts')

async function init({ keystore, folder, passphrase_file, environment }: KeystoreConfig): Promise<PublicJwk> {
  const place = folder === undefined ? [] : ['--folder', folder]
  const args = ['--realm', 'consumer', '--keystore', keystore, ...place, '--passphrase-file', passphrase_file]
  const { stdout } = await promisify(execFile)(process.execPath, [main, 'init', ...args], {
    env: { ...environment },
  })
  return (JSON.parse(stdout) as { jwk: PublicJwk }).jwk
}

async function consumers(): Promise<readonly SignerStatus[]> {
  const { signers } = await admin.status()
  return signers.filter(({ realm }) => realm === 'consumer')
}

/** Has the signer with this identity make a key, and publishes it. */
async function publishKey(signer: string): Promise<string> {
  const made = await admin.generate({
    realm: 'consumer',
    signer,
    alg: 'ES256',
    iss: issuers.consumer,
    tenants: realmTenants.consumer,
    token_types: ['access', 'id', 'logout'],
    max_ttl: 3600,
  })
  const { kid, algorithm, jwk } = importPublicJwk(made.jwk)
  const { privateKey } = world.keys.consumer
  const drafted = world.draftKey({ kid, algorithm, jwk, privateKey }, 'consumer', {
    attestation: made.attestation,
    tokenTypes: ['access', 'id', 'logout'],
    state: 'published',
    notBefore: world.now - 60,
  })
  world.publish(({ keys }) => ({ keys: [...keys, drafted] }))
  await broker.deliver()
  return kid
}

/** The next key takes over from the one that signs. */
function handOver(from: string, to: string): void {
  world.publish(({ keys }) => ({
    keys: keys.map((key) => {
      if (key.kid === from) return { ...key, state: 'retiring' }
      if (key.kid !== to) return key
      return { ...key, state: 'active', early: world.approve({ op: 'activate', kid: to }) }
    }),
  }))
}

/** Asks for tokens without a pause until told to stop. */
function load() {
  let isOver = false
  const kids = new Map<string, number>()
  const problems: string[] = []
  const validator = createValidator({ realm: 'consumer', audience: mailAudience, trust: world.trust })
  const client = async (): Promise<void> => {
    while (!isOver) {
      const token = await broker.issue('consumer')
      if (!token.includes('.')) problems.push(token)
      else if (!validator.decide(token).accepted) problems.push('refused')
      else {
        const { kid } = JSON.parse(Buffer.from(token.split('.')[0] as string, 'base64url').toString())
        kids.set(kid, (kids.get(kid) ?? 0) + 1)
      }
      await nextTurn()
    }
  }
  const clients = Array.from({ length: 8 }, client)
  return {
    kids,
    stop: async (): Promise<readonly string[]> => {
      isOver = true
      await Promise.all(clients)
      return problems
    },
    /** Settles once this key has signed some more. */
    signsWith: async (kid: string): Promise<void> => {
      const enough = (kids.get(kid) ?? 0) + 50
      while ((kids.get(kid) ?? 0) < enough) await nextTurn()
    },
  }
}

async function move(to: KeystoreConfig, protection: 'low' | 'hardware'): Promise<number> {
  const [old] = await consumers()
  const active = world.draft.keys.find(({ realm, state }) => realm === 'consumer' && state === 'active')
  const [from, before] = [active?.kid as string, [...keystores]]
  const jwk = await init(to)
  const { kid: identity } = importPublicJwk(jwk)
  const running = load()
  await running.signsWith(from)
  keystores.push(to)
  const { signers } = await admin.reload()
  assert.ok(signers.some((signer) => signer.identity === identity && signer.protection === protection))
  world.amend((charter) => {
    const { realms } = charter as { realms: Record<string, { signers: PublicJwk[] }> }
    const consumer = { ...realms['consumer'], signers: [...(realms['consumer']?.signers ?? []), jwk] }
    return { realms: { ...realms, consumer } }
  })
  await broker.deliver()
  const next = await publishKey(identity)
  handOver(from, next)
  broker.authority.push()
  await running.signsWith(next)
  await broker.deliver()
  // What the old one prepared at the last moment is signed by it, and only then is it stopped.
  for (const each of before) keystores.splice(keystores.indexOf(each), 1)
  await admin.reload()
  await running.signsWith(next)
  assert.deepEqual(await running.stop(), [])
  assert.deepEqual(
    (await consumers()).map((signer) => signer.identity),
    [identity],
  )
  assert.notEqual(old?.identity, identity)
  return [...running.kids.values()].reduce((sum, count) => sum + count, 0)
}

test('K1: under load a realm moves to a token and back to a file, and no request fails', {
  skip: missingSoftHsm() ?? false,
}, async (t) => {
  const folder = join(broker.folder, 'hardware')
  mkdirSync(folder)
  const token = await createSoftToken(folder)
  const { uri: keystore, pinFile: passphrase_file, environment } = token
  const there = await move(
    { keystore, passphrase_file, environment, folder: join(folder, 'signer') },
    'hardware',
  )
  const back = await move(
    { keystore: join(broker.folder, 'back', 'keystore.age'), passphrase_file: first.passphrase_file },
    'low',
  )
  t.diagnostic(`${there} tokens on the way to the token, ${back} on the way back, none failed`)
})

/** A signer whose keys and whose trust the test holds in its hands. */
function fakeSigner(identity: string) {
  const taken = Promise.withResolvers<void>()
  const fake = {
    holdsKey: false,
    isAway: false,
    isStopped: false,
    takeTrust: () => {
      fake.holdsKey = true
      taken.resolve()
    },
    signer: {
      description: { identity, protection: 'low' },
      manifestVersion: 1,
      ready: async () => {},
      trust: () => taken.promise,
      ask: async (question: (process: object) => Promise<unknown>) => {
        if (fake.isAway) throw new LineError('signer_unavailable', 'away', { retryable: true })
        const prepare = async (requests: readonly object[]) =>
          requests.map((_, id) =>
            fake.holdsKey
              ? { id, entry: '', kid: identity }
              : { error: { code: 'no_active_key', message: '', retryable: false } },
          )
        return question({ prepare })
      },
      stop: async () => {
        fake.isStopped = true
      },
    } as unknown as SupervisedSigner,
  }
  return fake
}

const request = { type: 'access', claims: '{}' } as const

test('between two manifests, when one signer has laid the key down and the other has not taken it up, a request waits', async () => {
  const [old, next] = [fakeSigner('old'), fakeSigner('next')]
  const signers = new RealmSigners([old.signer, next.signer])
  signers.trust({} as never)
  old.takeTrust()
  old.holdsKey = false
  const prepared = signers.lease().prepare([request])
  await nextTurn()
  next.takeTrust()
  const [answer] = await prepared
  assert.equal(answer && 'kid' in answer && answer.kid, 'next')
})

test('while the signer that holds the key is away, the answer is to try again, not that there is no key', async () => {
  const [holder, other] = [fakeSigner('holder'), fakeSigner('other')]
  holder.isAway = true
  for (const order of [
    [holder, other],
    [other, holder],
  ]) {
    const [answer] = await new RealmSigners(order.map(({ signer }) => signer)).lease().prepare([request])
    assert.deepEqual(answer && 'error' in answer && [answer.error.code, answer.error.retryable], [
      'signer_unavailable',
      true,
    ])
  }
})

test('a signer that is taken out is asked nothing new, and is stopped when the last batch that it is in is over', async () => {
  const [old, next] = [fakeSigner('old'), fakeSigner('next')]
  old.holdsKey = true
  next.holdsKey = true
  const signers = new RealmSigners([old.signer, next.signer])
  const lease = signers.lease()
  const removed = signers.remove(old.signer)
  await nextTurn()
  assert.equal(old.isStopped, false)
  const [answer] = await signers.lease().prepare([request])
  assert.equal(answer && 'kid' in answer && answer.kid, 'next')
  lease.release()
  await removed
  assert.equal(old.isStopped, true)
})

test('a keystore that does not come up is refused, and the realm goes on with those that it has', async () => {
  const missing = { ...first, keystore: join(broker.folder, 'nowhere', 'keystore.age') }
  keystores.push(missing)
  await assert.rejects(admin.reload(), { code: 'signer_not_started' })
  keystores.splice(keystores.indexOf(missing), 1)
  await admin.reload()
  assert.match(await broker.issue('consumer'), /\./)
})

/** How many processes this one has started that still run. */
function children(): number {
  return process.getActiveResourcesInfo().filter((resource) => resource === 'ProcessWrap').length
}

test('a reload that fails on its way leaves no realm, no signer and no socket behind', async () => {
  const before = children()
  const realmIn = async (realm: string, folder: string) => {
    await initSigner(broker.folder, realm)
    const own = join(broker.folder, realm)
    const keystore = { keystore: join(own, 'keystore.age'), passphrase_file: join(own, 'passphrase') }
    return { socket: join(folder, `${realm}.sock`), keystores: [keystore], signatures_per_second: 100 }
  }
  const shut = await realmIn('shut', join(broker.folder, 'nowhere'))
  const open = await realmIn('open', broker.folder)
  const { consumer, ...others } = broker.config.realms
  const more = { ...first, keystore: join(broker.folder, 'more', 'keystore.age') }
  mkdirSync(join(broker.folder, 'more'), { mode: 0o700 })
  await init(more)
  const grown = { ...(consumer as typeof open), keystores: [...keystores, more] }
  const realms = { ...others, consumer: grown, open, shut }
  await assert.rejects(broker.reload({ realms }), { code: 'malformed', message: /socket/ })
  await assert.rejects(connectLines(open.socket), { code: 'ENOENT' })
  assert.deepEqual([(await admin.status()).signers.length, children()], [before, before])
  await broker.reload({ realms: broker.config.realms })
  assert.match(await broker.issue('consumer'), /\./)
})

test('a reload that would pass over a change says so, by name', async () => {
  const { admin_socket, realms } = broker.config
  const { consumer } = realms as { consumer: object }
  const changes = { socket: '/nowhere', signatures_per_second: 1 }
  for (const [name, value] of Object.entries(changes)) {
    const changed = { ...consumer, [name]: value } as typeof realms.consumer & object
    await assert.rejects(broker.reload({ realms: { ...realms, consumer: changed } }), {
      code: 'malformed',
      message: new RegExp(`^realms.consumer.${name}: `),
    })
  }
  await assert.rejects(broker.reload({ realms, admin_socket: '/nowhere' }), { message: /^admin_socket: / })
  await broker.reload({ admin_socket, realms })
})

test('a signer that is taken in while a manifest comes has the newest when it is asked', async () => {
  const seen: unknown[] = []
  const [old, next] = [fakeSigner('old'), fakeSigner('next')]
  const slow = {
    ...next.signer,
    trust: async (documents: unknown) => {
      seen.push(documents)
      await nextTurn()
    },
  } as SupervisedSigner
  const signers = new RealmSigners([old.signer])
  signers.trust('first' as never)
  const added = signers.add(slow)
  signers.trust('second' as never)
  await added
  assert.deepEqual(seen, ['first', 'second'])
})

test('a key is made by the signer that is named, and by no other', async () => {
  const request = {
    realm: 'consumer',
    alg: 'ES256',
    iss: issuers.consumer,
    tenants: [],
    token_types: [],
    max_ttl: 1,
  } as const
  await assert.rejects(admin.generate({ ...request, signer: 'A'.repeat(43) }), { code: 'unknown_signer' })
})

test('a realm that is added gets its signer and its socket while the others go on; one whose signer does not come up is not', async () => {
  const folder = join(broker.folder, 'partner')
  const partner = {
    keystore: join(folder, 'keystore.age'),
    passphrase_file: join(folder, 'passphrase'),
  }
  const realms = {
    ...broker.config.realms,
    partner: {
      socket: join(broker.folder, 'partner.sock'),
      keystores: [partner],
      signatures_per_second: 100,
    },
  }
  await assert.rejects(broker.reload({ realms }), { code: 'signer_not_started' })
  await assert.rejects(connectLines(join(broker.folder, 'partner.sock')), { code: 'ENOENT' })
  const jwk = await initSigner(broker.folder, 'partner')
  await broker.reload({ realms })
  await broker.reload({ realms })
  const { signers } = await admin.status()
  const added = signers.filter(({ realm }) => realm === 'partner')
  assert.deepEqual(
    added.map(({ identity, keys }) => [identity, keys]),
    [[importPublicJwk(jwk).kid, []]],
  )
  const line = await connectLines(join(broker.folder, 'partner.sock'))
  const request = { type: 'access', claims: broker.claims('consumer') }
  await assert.rejects(line.call('issue', request), { code: 'no_active_key' })
  line.close()
  assert.match(await broker.issue('consumer'), /\./)
  await assert.rejects(broker.reload({ realms: broker.config.realms }), { code: 'malformed' })
})
