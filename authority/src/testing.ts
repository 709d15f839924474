/**
 * An authority with everything around it, for tests: trust as in the validator's test world, a witness and a broker
 * that behave as the real ones do and can be told to be away, to hang or to refuse.
 * @module
 */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import type { KeyRequest } from '@countersign/broker/client'
import { type LineServer, serveLines } from '@countersign/lines'
import { createLog } from '@countersign/service'
import { attestKey } from '@countersign/validator/attestation'
import { decode, encode } from '@countersign/validator/base64url'
import { verifyCharter } from '@countersign/validator/charter'
import type { SignedDocument } from '@countersign/validator/document'
import { decodeEntry } from '@countersign/validator/entry'
import type { Algorithm, PublicJwk } from '@countersign/validator/jws'
import type { Manifest, ManifestKey } from '@countersign/validator/manifest'
import { signStatement } from '@countersign/validator/statement'
import {
  createTestKey,
  createTestWorld,
  type TestKey,
  type TestRealm,
  type TestWorld,
} from '@countersign/validator/testing'
import { type Authority, startAuthority } from './authority.ts'
import { type Command, signCommand } from './client.ts'
import { type AuthorityConfig, configSchema } from './config.ts'
import { Denial } from './denial.ts'
import type { WitnessState } from './publisher.ts'

export interface TestAuthority {
  readonly world: TestWorld
  readonly folder: string
  readonly config: AuthorityConfig
  readonly witness: FakeWitness
  readonly broker: FakeBroker
  readonly enrolmentToken: string
  readonly url: string
  readonly running: Authority
  readonly manifest: Manifest
  /** The key of a realm in a state that signs tokens; the first of several. */
  key(realm: TestRealm, state: ManifestKey['state']): ManifestKey
  /** Gives a command as an operator, or as whoever has `author`'s key. */
  command(command: Command, author?: TestKey): Promise<Answer>
  /** Posts a body as it is. */
  post(path: string, body: string, headers?: Readonly<Record<string, string>>): Promise<Answer>
  get(path: string): Promise<Answer>
  /** A new validator's key, enrolled under the name. */
  enrol(name: string): Promise<TestKey>
  acknowledge(name: string, key: TestKey, change?: object): Promise<Answer>
  /** Opens a stream under a name, which may ask for more. */
  stream(name: string, more?: string): Promise<TestStream>
  /** Settles when no enrolled validator is silent. */
  allAcknowledged(): Promise<void>
  /** Starts the authority on its folder, after it was stopped or beside the one that runs. */
  start(): Promise<void>
  stop(): Promise<void>
  restart(): Promise<void>
}

/** Events as they come, raw. */
export interface TestStream {
  /** The next event, or the next of a kind: its lines. */
  next(kind?: 'manifest' | 'freshness' | 'roots'): Promise<string>
  close(): Promise<void>
}

export interface Answer {
  readonly status: number
  readonly body: Record<string, unknown>
}

/** Starts an authority, which ends with the test; unless told not to, with its first manifest made. */
export async function startTestAuthority(
  context: TestContext,
  { isFirstMade = true, freshnessSeconds = 10 } = {},
): Promise<TestAuthority> {
  const world = createTestWorld({ now: Math.floor(Date.now() / 1000) })
  const folder = mkdtempSync(join(tmpdir(), 'countersign-authority-'))
  const file = (name: string, content: unknown): string => {
    const path = join(folder, name)
    writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content), { mode: 0o600 })
    return path
  }
  const enrolmentToken = 'a-token-of-this-test-alone'
  const config = configSchema.parse({
    data: folder,
    listen: { port: 0 },
    trust_anchor: file('trust-anchor.json', world.trustAnchor),
    charter: file('charter.json', world.charterDocuments[0]),
    broker_socket: join(folder, 'broker.sock'),
    witness_socket: join(folder, 'witness.sock'),
    freshness_seconds: freshnessSeconds,
    enrolment_token: file('enrolment-token', `${enrolmentToken}\n`),
  })
  file('manifest-key.json', world.manifestKey.privateKey.export({ format: 'jwk' }))
  const witness = createFakeWitness(world, config.witness_socket)
  const broker = createFakeBroker(world, config.broker_socket)
  const log = createLog('authority')
  log.level = 'silent'
  let running = await startAuthority(config, log, { now: () => world.now })
  let isStopped = false

  const test: TestAuthority = {
    world,
    folder,
    config,
    witness,
    broker,
    enrolmentToken,
    get url() {
      return running.ready['url'] as string
    },
    get running() {
      return running
    },
    get manifest() {
      return running.publisher.newest?.manifest as Manifest
    },
    key: (realm, state) => {
      const keys = [...test.manifest.keys.values()]
      const fitting = keys.filter((key) => key.realm === realm && key.state === state)
      return fitting.find(({ tokenTypes }) => tokenTypes.includes('access')) as ManifestKey
    },
    command: (command, author = world.operators[0] as TestKey) =>
      test.post('commands', signCommand(command, author, world.now)),
    post: async (path, body, headers = {}) => {
      const request = { method: 'POST', headers: { 'content-type': 'application/jwt', ...headers }, body }
      return answerOf(await fetch(`${test.url}/${path}`, request))
    },
    get: async (path) => answerOf(await fetch(`${test.url}/${path}`)),
    enrol: async (name) => {
      const key = createTestKey('EdDSA')
      const headers = { 'content-type': 'application/json', authorization: `Bearer ${enrolmentToken}` }
      await test.post('validators', JSON.stringify({ name, jwk: key.jwk }), headers)
      return key
    },
    acknowledge: (name, key, change = {}) => {
      const { manifest, sha256 } = running.publisher.newest ?? { manifest: undefined, sha256: '' }
      const payload = { validator: name, version: manifest?.version, manifest_sha256: sha256, iat: world.now }
      return test.post('acks', signStatement('manifest-ack+jwt', { ...payload, ...change }, key.privateKey))
    },
    stream: async (name, more = '') => readEvents(await fetch(`${test.url}/stream?validator=${name}${more}`)),
    allAcknowledged: async () => {
      for (;;) {
        const { body } = await test.get('acks')
        if ((body['silent'] as string[]).length === 0) return
      }
    },
    start: async () => {
      running = await startAuthority(config, log, { now: () => world.now })
      isStopped = false
    },
    stop: async () => {
      if (!isStopped) await running.stop()
      isStopped = true
    },
    restart: async () => {
      await test.stop()
      await test.start()
    },
  }
  context.after(async () => {
    await test.stop()
    await witness.close()
    await broker.close()
    rmSync(folder, { recursive: true })
  })
  if (isFirstMade) {
    await witness.open()
    await broker.open()
    await running.keeper.keep()
  }
  return test
}

/** A peer that can be away. */
interface FakePeer {
  open(): Promise<void>
  close(): Promise<void>
}

/** The log of a world's witness: takes each manifest once and in order, and gives the last receipt again. */
export class TestLog {
  readonly versions: number[] = []
  readonly #world: TestWorld
  #last: { readonly bytes: Uint8Array; readonly receipt: Uint8Array } | undefined

  constructor(world: TestWorld) {
    this.#world = world
  }

  append(bytes: Uint8Array): Uint8Array {
    if (this.#last !== undefined && Buffer.compare(bytes, this.#last.bytes) === 0) return this.#last.receipt
    const { serial } = decodeEntry(bytes)
    if (serial <= (this.versions.at(-1) ?? 0)) throw new Denial('witness_refused', 'serial_repeated')
    this.versions.push(serial)
    const [receipt] = this.#world.witness.append([bytes], serial)
    this.#last = { bytes, receipt: receipt as Uint8Array }
    return this.#last.receipt
  }

  /** Another that has the same so far. */
  copy(): TestLog {
    const copied = new TestLog(this.#world)
    copied.versions.push(...this.versions)
    copied.#last = this.#last
    return copied
  }

  get status(): WitnessState {
    const { origin, name } = this.#world.witness
    return {
      logs: [{ origin, witness: name, state: 'open' }],
      manifestVersion: this.versions.at(-1) ?? 0,
      manifestSha256: this.#last && encode(decodeEntry(this.#last.bytes).payloadSha256),
      charterVersion: this.#world.charter.version,
    }
  }
}

export interface FakeWitness extends FakePeer {
  /** Versions logged, in order. */
  readonly versions: readonly number[]
  /** When set, an append waits for it before it answers. */
  hold: Promise<void> | undefined
  /** When true, entries are logged but the answer never leaves. */
  isMute: boolean
  /** When true, nothing is logged. */
  isRefusing: boolean
  /** How often it was asked what roots it countersigned. */
  readonly rootsAsked: number
  /** Tells whoever asks next, and those who wait, of roots. */
  tell(...statements: readonly string[]): void
  /** What its status says of its logs. */
  logs: { readonly origin: string; readonly state: 'open' | 'sealed' }[]
}

function createFakeWitness(world: TestWorld, socket: string): FakeWitness {
  const log = new TestLog(world)
  const append = async ({ entries }: { entries: readonly string[] }): Promise<object> => {
    await witness.hold
    if (witness.isRefusing)
      return { receipts: entries.map(() => ({ error: { code: 'clock_off', message: '' } })) }
    const receipts = entries.map((text) => {
      try {
        return { receipt: encode(log.append(decode(text))) }
      } catch {
        return { error: { code: 'serial_repeated', message: '' } }
      }
    })
    if (witness.isMute) await witness.close()
    return { receipts }
  }
  let charter = world.charter
  const charters = ({ documents }: { documents: readonly SignedDocument[] }): object => {
    for (const document of documents) charter = verifyCharter(document, charter)
    return {}
  }
  const { name, origin } = world.witness
  const status = (): object => ({
    name,
    logs: witness.logs,
    manifest_version: log.status.manifestVersion,
    manifest_sha256: log.status.manifestSha256 ?? null,
    charter_version: charter.version,
  })
  const told: string[] = []
  let news = Promise.withResolvers<void>()
  let rootsAsked = 0
  const roots = async ({ after }: { after: number }): Promise<object> => {
    rootsAsked++
    if (after >= told.length) await news.promise
    return { statements: told.slice(after), next: told.length }
  }
  const witness: FakeWitness = {
    versions: log.versions,
    get rootsAsked() {
      return rootsAsked
    },
    tell: (...statements) => {
      told.push(...statements)
      news.resolve()
      news = Promise.withResolvers()
    },
    hold: undefined,
    isMute: false,
    isRefusing: false,
    logs: [{ origin, state: 'open' }],
    ...createFakePeer(socket, { append, charters, status, roots }),
  }
  return witness
}

export interface FakeBroker extends FakePeer {
  /** Laid over what its signers attest. */
  lie: Partial<ManifestKey>
  /** How many keys were made. */
  readonly keyCount: number
}

function createFakeBroker(world: TestWorld, socket: string): FakeBroker {
  let keyCount = 0
  let rsaCount = 0
  const generate = (request: KeyRequest): { jwk: PublicJwk; attestation: string } => {
    keyCount++
    const { realm, alg, iss, tenants, token_types, max_ttl } = request
    const { kid, jwk } = alg === 'RS256' ? rsaKey(rsaCount++) : createTestKey(alg as Algorithm)
    const scope = {
      kid,
      algorithm: alg,
      realm,
      issuer: iss,
      tenants,
      tokenTypes: token_types as ManifestKey['tokenTypes'],
      audiences: undefined,
      lifetimeSecondsMax: max_ttl,
      issuedAt: world.now,
      ...broker.lie,
    }
    return { jwk, attestation: attestKey(scope, world.signers[realm as TestRealm].privateKey) }
  }
  const broker: FakeBroker = {
    ...createFakePeer(socket, { generate }),
    lie: {},
    get keyCount() {
      return keyCount
    },
  }
  return broker
}

/** One takes a tenth of a second to make, so that all worlds of a test file share them. */
const rsaKeys: TestKey[] = []

function rsaKey(index: number): TestKey {
  rsaKeys[index] ??= createTestKey('RS256')
  return rsaKeys[index]
}

function createFakePeer(socket: string, handlers: Parameters<typeof serveLines>[1]): FakePeer {
  let server: LineServer | undefined
  return {
    open: async () => {
      server = await serveLines(socket, handlers)
    },
    close: async () => {
      const closing = server
      server = undefined
      await closing?.close()
    },
  }
}

async function answerOf(response: Response): Promise<Answer> {
  const text = await response.text()
  return { status: response.status, body: text === '' ? {} : (JSON.parse(text) as Record<string, unknown>) }
}

function readEvents(response: Response): TestStream {
  const decoder = new TextDecoder()
  const reader = (response.body as ReadableStream<Uint8Array>).getReader()
  let rest = ''

  async function nextEvent(): Promise<string> {
    for (;;) {
      const end = rest.indexOf('\n\n')
      if (end !== -1) {
        const event = rest.slice(0, end)
        rest = rest.slice(end + 2)
        return event
      }
      const { value, done } = await reader.read()
      if (done) throw new Error('the stream ended')
      rest += decoder.decode(value, { stream: true })
    }
  }

  return {
    next: async (kind) => {
      let event = await nextEvent()
      while (kind !== undefined && !event.startsWith(`event: ${kind}\n`)) event = await nextEvent()
      return event
    },
    close: () => reader.cancel(),
  }
}
