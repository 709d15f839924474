/**
 * A broker with real signers, in a temporary folder, between an authority and a witness that the test plays: the
 * witness behaves as the real one does and can be told to be away, to hang, or to lie. Nothing here is for production.
 * @module
 */

import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { keepConnected, type Line, type LineServer, serveLines } from '@countersign/lines'
import { createLog, type Running } from '@countersign/service'
import { decode, encode } from '@countersign/validator/base64url'
import { decodeEntry } from '@countersign/validator/entry'
import { eventually } from '@countersign/validator/eventually'
import { type FakeAuthority, startFakeAuthority } from '@countersign/validator/fake-authority'
import { type Algorithm, importPublicJwk, type PublicJwk } from '@countersign/validator/jws'
import {
  createTestWorld,
  issuers,
  mailAudience,
  realmTenants,
  type TestRealm,
  type TestWorld,
} from '@countersign/validator/testing'
import type { AppendParams, AppendResult } from '@countersign/witness/client'
import type { z } from 'zod'
import { startBroker } from './broker.ts'
import { type BrokerConfig, configSchema } from './config.ts'

export interface TestBroker {
  readonly world: TestWorld
  readonly authority: FakeAuthority
  readonly witness: FakeWitness
  readonly config: BrokerConfig
  readonly folder: string
  /** Where issuers elsewhere reach it. */
  readonly remotePort: number
  /** Has it read its configuration anew, changed as `change` says. */
  reload(change?: Partial<BrokerConfig>): Promise<void>
  /** The key that a realm's signer signs with. */
  kid(realm: TestRealm): string
  /** A line to the socket of a realm, or to the admin socket. */
  line(socket: TestRealm | 'admin'): Line
  /** Claims of an access token of the realm, as its issuer would send them. */
  claims(realm: TestRealm, change?: object): string
  /** The token, or the code of the error. */
  issue(realm: TestRealm, change?: object): Promise<string>
  /** Delivers what the world has published last; settles when it has reached the signers. */
  deliver(): Promise<void>
  /** Stops the broker; `between` happens before it starts again. */
  restart(between?: () => void): Promise<void>
  stop(): Promise<void>
}

const signerMain = fileURLToPath(import.meta.resolve('@countersign/signer/client')).replace(
  'client.ts',
  'main.ts',
)

export interface TestBrokerOptions {
  /** What is asked of it by issuers elsewhere. */
  readonly remote?: z.input<typeof configSchema>['remote']
  /** What the first key of each realm signs with; ES256 unless said otherwise. */
  readonly algorithms?: Readonly<Partial<Record<TestRealm, Algorithm>>>
}

export async function startTestBroker({
  remote,
  algorithms = {},
}: TestBrokerOptions = {}): Promise<TestBroker> {
  const folder = mkdtempSync(join(tmpdir(), 'countersign-broker-'))
  const realms: readonly TestRealm[] = ['consumer', 'enterprise']
  const identities = Object.fromEntries(
    await Promise.all(realms.map(async (realm) => [realm, await initSigner(folder, realm)] as const)),
  )
  const world = createTestWorld({ now: Math.floor(Date.now() / 1000), identities })
  const authority = await startFakeAuthority(world)
  const witness = new FakeWitness(world, join(folder, 'witness.sock'))
  await witness.open()
  writeFileSync(join(folder, 'anchor.json'), JSON.stringify(world.trustAnchor))
  const config = configSchema.parse({
    realms: Object.fromEntries(
      realms.map((realm) => [
        realm,
        {
          socket: join(folder, `${realm}.sock`),
          keystores: [
            {
              keystore: join(folder, realm, 'keystore.age'),
              passphrase_file: join(folder, realm, 'passphrase'),
            },
          ],
        },
      ]),
    ),
    admin_socket: join(folder, 'admin.sock'),
    witness_socket: witness.path,
    authority: authority.url,
    trust_anchor: join(folder, 'anchor.json'),
    remote,
  })
  const log = createLog('broker')
  log.level = 'silent'
  let current = config
  let running: Running = await startBroker(config, log, () => current)
  const lines = new Map(
    [...realms, 'admin' as const].map((name) => [name, keepConnected(join(folder, `${name}.sock`), 10_000)]),
  )
  const kids = new Map<TestRealm, string>()

  const test: TestBroker = {
    world,
    authority,
    witness,
    config,
    folder,
    get remotePort() {
      return (running.ready['remote'] as { readonly port: number }).port
    },
    reload: async (change) => {
      current = { ...current, ...change }
      await running.reload?.()
    },
    kid: (realm) => kids.get(realm) as string,
    line: (socket) => lines.get(socket) as Line,
    claims: (realm, change = {}) => {
      const [tid = ''] = realmTenants[realm]
      const iat = Math.floor(Date.now() / 1000)
      return JSON.stringify({
        iss: issuers[realm].replace('{tenantid}', tid),
        sub: 'user-1',
        aud: mailAudience,
        client_id: 'client-1',
        iat,
        exp: iat + 300,
        tid,
        ...change,
      })
    },
    issue: async (realm, change = {}) => {
      const params = { type: 'access', claims: test.claims(realm), ...change }
      const issued = test.line(realm).call<{ readonly token: string }>('issue', params)
      return issued.then(
        ({ token }) => token,
        ({ code }: { readonly code: string }) => code,
      )
    },
    deliver: async () => {
      authority.push()
      const { version } = world.draft
      await eventually(async () => (await seenBy(test)) >= version)
    },
    restart: async (between = () => {}) => {
      await running.stop()
      between()
      running = await startBroker(config, log, () => current)
      await test.deliver()
    },
    stop: async () => {
      // Whatever a test that failed has left: what still runs would keep the process.
      await Promise.allSettled([running.stop()])
      for (const line of lines.values()) line.close()
      await witness.close()
      await authority.stop()
      rmSync(folder, { recursive: true })
    },
  }
  for (const realm of realms) kids.set(realm, await addKey(test, realm, algorithms[realm]))
  await test.deliver()
  return test
}

/** The oldest manifest version that any signer knows, by what the broker says of itself. */
async function seenBy(test: TestBroker): Promise<number> {
  const { signers } = await test
    .line('admin')
    .call<{ readonly signers: readonly { version: number }[] }>('status', {})
  return Math.min(...signers.map(({ version }) => version))
}

/** Makes a signer's keystore in a folder of its own, named by the realm. Gives its identity key. */
export async function initSigner(folder: string, realm: string): Promise<PublicJwk> {
  mkdirSync(join(folder, realm), { mode: 0o700 })
  const passphraseFile = join(folder, realm, 'passphrase')
  writeFileSync(passphraseFile, 'the passphrase of this test', { mode: 0o600 })
  const args = ['init', '--realm', realm, '--keystore', join(folder, realm, 'keystore.age')]
  const { stdout } = await promisify(execFile)(process.execPath, [
    signerMain,
    ...args,
    '--passphrase-file',
    passphraseFile,
  ])
  return (JSON.parse(stdout) as { readonly jwk: PublicJwk }).jwk
}

async function addKey(test: TestBroker, realm: TestRealm, alg: Algorithm = 'ES256'): Promise<string> {
  const { world } = test
  const made = await test
    .line('admin')
    .call<{ readonly jwk: PublicJwk; readonly attestation: string }>('generate', {
      realm,
      alg,
      iss: issuers[realm],
      tenants: realmTenants[realm],
      token_types: ['access', 'id', 'logout', 'set'],
      max_ttl: 3600,
    })
  const { kid, algorithm, jwk } = importPublicJwk(made.jwk)
  // The world wants the private half only to forge with.
  const { privateKey } = world.keys[realm]
  const drafted = world.draftKey({ kid, algorithm, jwk, privateKey }, realm, {
    attestation: made.attestation,
  })
  world.publish(({ keys }) => ({ keys: [...keys, drafted] }))
  return kid
}

/** A witness that countersigns with the world's key, and refuses a serial that does not rise. */
export class FakeWitness {
  readonly path: string
  /** When set, an append waits for it before it is logged. */
  hold: Promise<void> | undefined
  /** When true, entries are logged but the answer never leaves. */
  isMute = false
  /** Changes the answers to an append. */
  lie: (receipts: readonly AppendResult[]) => readonly AppendResult[] = (receipts) => receipts
  readonly #world: TestWorld
  readonly #serials = new Map<string, number>()
  /** Of each append: how many entries it had. */
  readonly appends: number[] = []
  #server: LineServer | undefined

  constructor(world: TestWorld, path: string) {
    this.#world = world
    this.path = path
  }

  async open(): Promise<void> {
    this.#server = await serveLines(this.path, { append: (params: AppendParams) => this.#append(params) })
  }

  async close(): Promise<void> {
    await this.#server?.close()
    this.#server = undefined
  }

  async #append({ entries }: AppendParams): Promise<object> {
    this.appends.push(entries.length)
    await this.hold
    const receipts = entries.map((text) => this.#appendOne(decode(text)))
    if (this.isMute) await new Promise(() => {})
    return { receipts: this.lie(receipts) }
  }

  #appendOne(bytes: Uint8Array): AppendResult {
    const { keyThumbprint, serial } = decodeEntry(bytes)
    const kid = encode(keyThumbprint)
    if (serial <= (this.#serials.get(kid) ?? 0))
      return { error: { code: 'serial_repeated', message: 'the serial does not rise' } }
    this.#serials.set(kid, serial)
    const [receipt] = this.#world.witness.append([bytes], serial)
    return { receipt: encode(receipt as Uint8Array) }
  }
}
