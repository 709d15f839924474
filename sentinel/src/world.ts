/**
 * The services around the sentinel, as it uses them.
 * @module
 */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  type Acks,
  type CommandAnswer,
  type Enrolled,
  fetchAcks,
  fetchProofs,
  fetchRotation,
  fetchValidators,
  type Proof,
  type Rotation,
  sendCommand,
} from '@countersign/authority/client'
import { keepConnected } from '@countersign/lines'
import type { Logger } from '@countersign/service'
import { parseTrustAnchor } from '@countersign/validator/charter'
import { publicHalf } from '@countersign/validator/document'
import { followManifest } from '@countersign/validator/follow'
import type { TrustSource, TrustState } from '@countersign/validator/manifest'
import { readPrivateKey } from '@countersign/validator/private-file'
import type { SentinelConfig } from './config.ts'
import type { KeyCounter } from './counts.ts'

export interface World {
  readonly trust: TrustSource
  /** Calls back with the state there is, and with each newer one. */
  onState(listener: (state: TrustState) => void): void
  /** Who may report. */
  enrolled(): Promise<readonly Enrolled[]>
  acks(): Promise<Acks>
  /** How far each realm is with its next key. */
  rotation(): Promise<Rotation>
  /** What came of the canaries of the last kills. */
  proofs(): Promise<readonly Proof[]>
  /** Orders a key to be blocked. Throws `AuthorityError`. */
  block(kid: string, reason: string): Promise<CommandAnswer>
  /** What the signers counted. */
  counters(): Promise<readonly KeyCounter[]>
  /** Milliseconds since the epoch. */
  now(): number
  stop(): Promise<void>
}

/** Signers answer from memory; one that has not by then is away. */
const COUNTERS_MILLISECONDS_MAX = 2000

/** What the broker's admin socket answers to `counters`. */
interface CountersAnswer {
  readonly realms: Readonly<
    Record<
      string,
      {
        readonly keys: readonly {
          readonly kid: string
          readonly signed: number
          readonly last_serial: number
        }[]
      }
    >
  >
}

export function connectWorld(config: SentinelConfig, log: Logger): World {
  const { authority } = config
  const listeners = new Set<(state: TrustState) => void>()
  const blockKey = readPrivateKey(config.block_key)
  const author = { kid: publicHalf(blockKey).kid, privateKey: blockKey }
  const broker = keepConnected(config.broker_socket, COUNTERS_MILLISECONDS_MAX)
  const onProblem = (problem: Error): void =>
    log.warn({ problem: problem.message }, 'trust is not up to date')
  const trust = followManifest({
    authority,
    trustAnchor: parseTrustAnchor(JSON.parse(readFileSync(config.trust_anchor, 'utf8'))),
    stateFile: join(config.data, 'manifest.json'),
    onState: (state) => {
      for (const listener of listeners) listener(state)
    },
    onProblem,
    onMisbehavior: onProblem,
  })

  return {
    trust,
    onState: (listener) => {
      listeners.add(listener)
      if (trust.state !== undefined) listener(trust.state)
    },
    enrolled: () => fetchValidators(authority),
    acks: () => fetchAcks(authority),
    rotation: () => fetchRotation(authority),
    proofs: () => fetchProofs(authority),
    block: (kid, reason) =>
      sendCommand(authority, { op: 'block', kid, reason: `sentinel: ${reason}` }, author),
    counters: async () => {
      const { realms } = await broker.call<CountersAnswer>('counters', {})
      return Object.entries(realms).flatMap(([realm, { keys }]) =>
        keys.map(({ kid, signed, last_serial }) => ({ realm, kid, signed, lastSerial: last_serial })),
      )
    },
    now: Date.now,
    stop: async () => {
      broker.close()
      await trust.stop()
    },
  }
}
