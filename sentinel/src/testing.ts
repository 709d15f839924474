/**
 * A sentinel with everything around it, for tests: a world of trust in memory, a log on loopback that can be made to
 * misbehave, an authority that blocks and counts acknowledgements, signers that count, and validators that report.
 * @module
 */

import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Proof, Rotation, ValidatorProgress } from '@countersign/authority/client'
import { createLog, type Running } from '@countersign/service'
import { cosignatureSigner, formatCheckpoint } from '@countersign/validator/checkpoint'
import { importPublicJwk } from '@countersign/validator/jws'
import type { TrustState } from '@countersign/validator/manifest'
import { ed25519Signer, signNote } from '@countersign/validator/note'
import { createReporter, type Reporter } from '@countersign/validator/reporter'
import {
  createTestKey,
  createTestWorld,
  mailAudience,
  type TestKey,
  type TestWorld,
} from '@countersign/validator/testing'
import { GrowingTree, leafHash } from '@countersign/validator/tree'
import { createValidator, type Validator } from '@countersign/validator/validator'
import { type Alert, type AlertEvent, fetchAlerts, followAlerts } from './client.ts'
import { type SentinelConfig, sentinelConfig } from './config.ts'
import type { KeyCounter } from './counts.ts'
import { startSentinel } from './sentinel.ts'
import type { World } from './world.ts'

/** A log of a few entries. What it shows can be changed behind everybody's back. */
export interface FakeLog {
  readonly url: string
  /** What it shows; left alone, all that the world's witness logged. */
  entries: () => readonly Uint8Array[]
  /** Seconds since the epoch: when its checkpoints say that they were signed. */
  clock: () => number
  stop(): Promise<void>
}

async function startFakeLog({ witness }: TestWorld): Promise<FakeLog> {
  const { name, origin, checkpointKey } = witness
  const { key } = importPublicJwk(checkpointKey.jwk)

  function answer(path: string): string | Uint8Array | undefined {
    const entries = log.entries()
    const hashes = entries.map(leafHash)
    if (path === 'checkpoint') {
      const tree = new GrowingTree()
      for (const hash of hashes) tree.append(hash)
      const signers = [
        ed25519Signer(origin, key, checkpointKey.privateKey),
        cosignatureSigner(name, key, checkpointKey.privateKey, log.clock()),
      ]
      return signNote(formatCheckpoint({ origin, size: entries.length, root: tree.root() }), signers)
    }
    const [, kind, width] = /^tile\/(0|entries)\/000\.p\/(\d+)$/.exec(path) ?? []
    if (kind === '0') return Buffer.concat(hashes.slice(0, Number(width)))
    if (kind === undefined) return undefined
    return Buffer.concat(
      entries.slice(0, Number(width)).map((entry) => Buffer.from([0, entry.length, ...entry])),
    )
  }

  const server = createServer((request, response) => {
    const path = (request.url ?? '').replace(`/epochs/${origin.slice(origin.lastIndexOf('/') + 1)}/`, '')
    const body = answer(path)
    response.writeHead(body === undefined ? 404 : 200).end(body)
  })
  const log: FakeLog = {
    url: await listen(server),
    entries: () => witness.entries,
    clock: () => Math.floor(Date.now() / 1000),
    stop: () => close(server),
  }
  return log
}

export interface TestSentinel {
  readonly world: TestWorld
  readonly log: FakeLog
  readonly url: string
  /** The signers' counters; empty until a test says otherwise. */
  counters: readonly KeyCounter[]
  /** The validators that the authority knows, and how far each has come; undefined keeps up with the manifest. */
  readonly behind: Map<string, number | undefined>
  /** What the authority says of canaries. */
  proofs: readonly Proof[]
  /** What the authority answers to a command to block; left alone, it blocks. */
  block: World['block']
  /** How far the authority says that rotations are. */
  rotation: Rotation
  /** The keys that were asked to be blocked, with their reasons. */
  readonly blocks: readonly { readonly kid: string; readonly reason: string }[]
  /** A validator that is enrolled and reports. */
  enrol(name: string, realm?: string | readonly string[]): Promise<TestValidator>
  /** Tells the sentinel of what the world published last. */
  tell(): void
  alerts(): Promise<Alert[]>
  /** Settles with the next alert, or repeat of one, that fits; follows from when the sentinel started. */
  alertOf(fits: (event: AlertEvent) => boolean): Promise<Alert>
  /** Stops the sentinel and starts another on the same folder. */
  restart(): Promise<void>
  stop(): Promise<void>
}

export interface TestValidator extends Validator {
  readonly name: string
  readonly key: TestKey
  readonly reporter: Reporter
}

/** Starts a sentinel over a new world. `change` is laid over its configuration. */
export async function startTestSentinel(change: Partial<SentinelConfig> = {}): Promise<TestSentinel> {
  const world = createTestWorld({ now: Math.floor(Date.now() / 1000) })
  const folder = mkdtempSync(join(tmpdir(), 'countersign-sentinel-'))
  const log = await startFakeLog(world)
  const config = sentinelConfig.parse({
    data: join(folder, 'data'),
    listen: { port: 0 },
    authority: 'http://127.0.0.1:9',
    trust_anchor: 'none',
    witness: log.url,
    broker_socket: 'none',
    block_key: 'none',
    policy: {
      auto_block: ['receipt_missing', 'entry_missing', 'entry_differs'],
      silent_seconds: 60,
      merge_delay_seconds: 0.01,
    },
    ...change,
  })
  const enrolled: { name: string; jwk: TestKey['jwk'] }[] = []
  const reporters: Reporter[] = []
  const blocks: { kid: string; reason: string }[] = []
  let listeners: ((state: TrustState) => void)[] = []

  const surroundings: World = {
    trust: world.trust,
    onState: (listener) => {
      listeners.push(listener)
      listener(world.state)
    },
    enrolled: async () => enrolled,
    acks: async () => {
      const { version } = world.state.manifest
      const validators: ValidatorProgress[] = [...test.behind].map(([name, behindAt]) => ({
        name,
        version: behindAt ?? version,
        acknowledged_at: 0,
        connected: true,
      }))
      const silent = validators.filter((each) => (each.version ?? 0) < version).map(({ name }) => name)
      return { version, validators, silent }
    },
    proofs: async () => test.proofs,
    rotation: async () => test.rotation,
    block: async (kid, reason) => {
      blocks.push({ kid, reason })
      return test.block(kid, reason)
    },
    counters: async () => test.counters,
    now: Date.now,
    stop: async () => {
      listeners = []
    },
  }

  const start = (): Promise<Running> => startSentinel(config, createLog('sentinel'), surroundings)
  let running = await start()

  const test: TestSentinel = {
    world,
    log,
    counters: [],
    behind: new Map(),
    proofs: [],
    rotation: { leader: true, slots: [] },
    blocks,
    get url() {
      return running.ready['url'] as string
    },
    block: async (kid) => {
      const { manifest } = world.setState(kid, 'blocked')
      test.tell()
      return { version: manifest.version, changed: true }
    },
    enrol: async (name, realm = ['consumer', 'enterprise']) => {
      const key = createTestKey('EdDSA')
      enrolled.push({ name, jwk: key.jwk })
      test.behind.set(name, undefined)
      const reporter = createReporter({ sentinel: test.url, enrolment: { name, privateKey: key.privateKey } })
      reporters.push(reporter)
      const validator = createValidator({
        realm,
        audience: mailAudience,
        trust: world.trust,
        now: () => world.now,
        onSighting: reporter.report,
      })
      return { ...validator, name, key, reporter }
    },
    tell: () => {
      for (const listener of listeners) listener(world.state)
    },
    alerts: () => fetchAlerts(test.url),
    alertOf: async (fits) => {
      const ending = new AbortController()
      try {
        for await (const event of followAlerts(test.url, { after: 0, signal: ending.signal }))
          if (fits(event)) return event.alert
      } finally {
        ending.abort()
      }
      throw new Error('the stream of alerts ended')
    },
    restart: async () => {
      await running.stop()
      running = await start()
    },
    stop: async () => {
      await Promise.all(reporters.map((reporter) => reporter.stop()))
      await running.stop()
      await log.stop()
      rmSync(folder, { recursive: true })
    },
  }
  return test
}

async function listen(server: Server): Promise<string> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

async function close(server: Server): Promise<void> {
  server.close()
  server.closeAllConnections()
  await once(server, 'close')
}
