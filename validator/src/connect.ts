/**
 * A validator as a running service needs it: it follows the authority, decides, acknowledges and reports. Each of the
 * parts can be had alone: `followManifest`, `createValidator`, `createReporter`.
 * @module
 */

import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { parseTrustAnchor } from './charter.ts'
import type { DenialSource } from './denials.ts'
import { readEnrolment } from './enrolment.ts'
import { followManifest } from './follow.ts'
import type { TrustSource } from './manifest.ts'
import { createReporter } from './reporter.ts'
import { createValidator, type Validator } from './validator.ts'
import { isWeakened } from './weakened.ts'

/**
 * Weakens a validator: tokens that are bound to nothing are accepted, in every realm. The value says why, and is warned of
 * at start.
 */
export const bearerAllowed: unique symbol = Symbol('bearerAllowed')

export interface ConnectOptions {
  readonly realm: string | readonly string[]
  readonly audience: string | readonly string[]
  /** URL of the authority, which is believed only as far as the trust anchor reaches. */
  readonly authority: string
  readonly trustAnchorFile: string
  /** Remembers the newest version seen, so that an older one is refused after a restart too. */
  readonly stateFolder: string
  /** Realms of which only tokens that are bound to their sender are taken, besides `enterprise`. */
  readonly boundRealms?: readonly string[] | undefined
  readonly [bearerAllowed]?: string | undefined
  readonly enrolment: { readonly name: string; readonly keyFile: string }
  /** Tokens that somebody else has ended, such as a foreign transmitter: see ssf.ts. */
  readonly denials?: DenialSource | undefined
  /** URL of the sentinel. Left out: nothing is reported. */
  readonly sentinel?: string | undefined
  /** Something was refused or did not arrive, and will be asked for again; or the authority lied, and that is proof. */
  readonly onProblem?: ((problem: Error) => void) | undefined
}

export interface ConnectedValidator extends Validator {
  /** What it decides by, for whoever has other questions about it. */
  readonly trust: TrustSource
  /** Whether it can accept anything: there is a manifest, and word that it is the newest. */
  readonly isReady: boolean
  /** Waits for that, but not for ever: a service that starts without its authority refuses until it is there. */
  whenReady(milliseconds: number): Promise<void>
  /** Reports what is still queued, and ends. */
  stop(): Promise<void>
}

const STALE_SECONDS_MAX = 60
/** Where people work for somebody else, a stolen token must be worth nothing. */
const BOUND_REALMS: readonly string[] = ['enterprise']

/** Starts to follow at once. Until there is a manifest, every token is refused as `manifest_stale`. */
export function connectValidator(options: ConnectOptions): ConnectedValidator {
  const { realm, audience, authority, stateFolder, sentinel } = options
  const enrolment = readEnrolment(options.enrolment.name, options.enrolment.keyFile)
  const trustAnchor = parseTrustAnchor(JSON.parse(readFileSync(options.trustAnchorFile, 'utf8')))
  mkdirSync(stateFolder, { recursive: true, mode: 0o700 })
  const reporter = sentinel === undefined ? undefined : createReporter({ sentinel, enrolment })
  const follower = followManifest({
    authority,
    trustAnchor,
    stateFile: join(stateFolder, 'manifest.json'),
    enrolment,
    onProblem: options.onProblem,
    onMisbehavior: options.onProblem,
  })
  const validator = createValidator({
    realm,
    audience,
    trust: follower,
    maxStaleSeconds: STALE_SECONDS_MAX,
    requireBinding: boundRealmsOf(options),
    denials: options.denials,
    ...(reporter && { onSighting: reporter.report }),
  })
  return {
    ...validator,
    trust: follower,
    get isReady() {
      return follower.ageSeconds() <= STALE_SECONDS_MAX
    },
    whenReady: async (milliseconds) => {
      await Promise.race([follower.ready().catch(() => {}), delay(milliseconds, undefined, { ref: false })])
    },
    stop: async () => {
      await follower.stop()
      await reporter?.stop()
    },
  }
}

function boundRealmsOf({ realm, boundRealms = [], ...options }: ConnectOptions): readonly string[] {
  const consequence = 'a validator accepts tokens that are bound to nothing'
  if (isWeakened(bearerAllowed, options[bearerAllowed], consequence)) return []
  const taken = typeof realm === 'string' ? [realm] : realm
  return [...BOUND_REALMS.filter((bound) => taken.includes(bound)), ...boundRealms]
}
