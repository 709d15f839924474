/**
 * The transmitter of one tenant (OpenID SSF 1.0): the outbox that everything else of the issuer writes to, and whatever
 * brings what is in it to the receivers.
 * @module
 */

import type { Logger } from '@countersign/service'
import type { JsonObject } from '@countersign/validator/json'
import type { Manifest, TrustSource } from '@countersign/validator/manifest'
import type { Issue } from '../issuance.ts'
import type { Middleware } from '../middleware.ts'
import type { Database } from '../schema.ts'
import { createDeliverer } from './deliver.ts'
import {
  type CredentialChange,
  claimsChanged,
  credentialChanged,
  type SessionEnding,
  type SignalEvent,
  sessionsRevoked,
} from './events.ts'
import { createMint } from './mint.ts'
import { createOutbox } from './outbox.ts'
import { createPoller } from './poll.ts'
import type { Reach } from './push.ts'
import { createSignalRoutes, type Tokens } from './routes.ts'
import { type LiveSession, liveSessions } from './sessions.ts'
import { openStreams } from './streams.ts'
import { watch } from './watch.ts'

/** How the rest of the issuer tells what happened. */
export interface Signals {
  /**
   * Makes a change and tells what it gives back, as one transaction. `change` must use the transaction that it is given and
   * nothing else of the database.
   */
  record(change: (transaction: Database) => Promise<readonly SignalEvent[]>): Promise<void>
  sessionsEnded(sessions: readonly LiveSession[], ending: SessionEnding): readonly SignalEvent[]
  /** Whatever the person is signed in to now. */
  everySessionOf(transaction: Database, subject: string): Promise<readonly LiveSession[]>
  credentialChanged(subject: string, change: CredentialChange): SignalEvent
  claimsChanged(subject: string, claims: JsonObject): SignalEvent
}

export interface Transmitter extends Signals {
  serve(tokens: Tokens): Middleware
  /** Delivers what waits, and tells from now on what manifests make true. */
  start(isSignInEnded: (subject: string, signedInAt: number) => boolean): Promise<void>
  /** There may be a newer manifest. Settles when all that it made true is told. */
  review(): Promise<void>
  /** Gives up on receivers that have stayed away for too long. */
  sweep(): Promise<void>
  stop(): Promise<void>
}

export interface TransmitterOptions {
  readonly database: Database
  readonly realm: string
  readonly tenant: string
  readonly issuer: string
  /** The audience of access tokens for this transmitter. */
  readonly audience: string
  readonly issue: Issue
  readonly trust: TrustSource
  readonly reach: Reach
  /** Seals what receivers have entrusted to us. */
  readonly key: Buffer
  readonly log: Logger
  /** Seconds since the epoch. */
  readonly now: () => number
}

export function createTransmitter(options: TransmitterOptions): Transmitter {
  const { database, realm, tenant, issuer, audience, issue, trust, reach, key, log, now } = options
  const teller = { issuer, tenant }
  const outbox = createOutbox({ database, tenant, onWritten: (ids) => ids.forEach(wake), now })
  const streams = openStreams({
    database,
    tenant,
    outbox,
    key,
    onChange: (id) => {
      poller.dismiss(id)
      deliverer.wake(id)
    },
    onWritten: wake,
    now,
  })
  const mint = createMint({ issuer, issue, trust, outbox, now })
  const deliverer = createDeliverer({ streams, outbox, mint, reach, log })
  const poller = createPoller({ outbox, mint, log })
  let isSignInEnded: ((subject: string, signedInAt: number) => boolean) | undefined
  let reviewed = ''
  let reviewing: Promise<void> = Promise.resolve()

  function wake(streamId: string): void {
    deliverer.wake(streamId)
    poller.wake(streamId)
  }

  async function review(): Promise<void> {
    const manifest = trust.state?.manifest
    if (manifest === undefined || isSignInEnded === undefined) return
    const endings = describeEndings(manifest)
    if (endings === reviewed) return
    const options = { teller, realm, isSignInEnded, now }
    await outbox.record((transaction) => watch(transaction, manifest, options))
    reviewed = endings
  }

  return {
    record: outbox.record,
    sessionsEnded: (sessions, ending) => sessionsRevoked(teller, sessions, ending, now()),
    everySessionOf: (transaction, subject) => liveSessions(transaction, tenant, now(), subject),
    credentialChanged: (subject, change) => credentialChanged(teller, subject, change, now()),
    claimsChanged: (subject, claims) => claimsChanged(teller, subject, claims, now()),
    serve: (tokens) => createSignalRoutes({ desk: { issuer, streams, poller, reach }, tokens, audience }),
    start: async (ask) => {
      isSignInEnded = ask
      await review()
      for (const id of await streams.pushed()) deliverer.wake(id)
    },
    review: () => {
      // One after the other: two at once would both find the same untold.
      reviewing = reviewing.catch(() => {}).then(review)
      return reviewing
    },
    sweep: outbox.expire,
    stop: async () => {
      poller.stop()
      await deliverer.stop()
      await reviewing.catch(() => {})
    },
  }
}

/** All of a manifest that can have ended a key or a session. While it stays the same there is nothing new to tell. */
function describeEndings({ keys, cutoffs }: Manifest): string {
  const dead = [...keys.values()]
    .filter(({ revoked, blocked }) => revoked !== undefined || blocked !== undefined)
    .map(({ kid, state, revoked, blocked }) => [kid, state, revoked, blocked])
  return JSON.stringify([dead, cutoffs])
}
