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
import { type Follower, followManifest } from './follow.ts'
import type { TrustSource } from './manifest.ts'
import { createReporter, type Reporter } from './reporter.ts'
import {
  acceptWithoutReceipt,
  createValidator,
  type ForeignValidator,
  type ForeignValidatorOptions,
  type Validator,
} from './validator.ts'
import { isWeakened } from './weakened.ts'

/**
 * Weakens a validator: tokens that are bound to nothing are accepted, in every realm. The value says why, and is warned of
 * at start.
 */
export const bearerAllowed: unique symbol = Symbol('bearerAllowed')

/** What a service has to know to be connected. Nothing that decides trust has a default. */
export interface ConnectOptions {
  /** Our own realms whose keys may vouch here. */
  readonly realm: string | readonly string[]
  /** The names that this service goes by in `aud`, compared as text. */
  readonly audience: string | readonly string[]
  /** URL of the authority, which is believed only as far as the trust anchor reaches. */
  readonly authority: string
  /** JSON: who may widen trust, and how many of them it takes. Everything else is verified down to it. */
  readonly trustAnchorFile: string
  /** Remembers the newest version seen, so that an older one is refused after a restart too. */
  readonly stateFolder: string
  /** Realms of which only tokens that are bound to their sender are taken, besides `enterprise`. */
  readonly boundRealms?: readonly string[] | undefined
  /** Why tokens that are bound to nothing are taken in the realm `enterprise` too. */
  readonly [bearerAllowed]?: string | undefined
  /** What the authority knows this service by: a name, and a file of mode 0600 with a private Ed25519 JWK. */
  readonly enrolment: { readonly name: string; readonly keyFile: string }
  /** Tokens that somebody else has ended, such as a foreign transmitter: see ssf.ts. */
  readonly denials?: DenialSource | undefined
  /** URL of the sentinel. Left out: nothing is reported. */
  readonly sentinel?: string | undefined
  /** Something was refused or did not arrive, and will be asked for again; or the authority lied, and that is proof. */
  readonly onProblem?: ((problem: Error) => void) | undefined
}

/** With identity providers that are not ours, whose keys die here when our authority says so. */
export interface ForeignConnectOptions extends Omit<ConnectOptions, 'realm'> {
  readonly issuers: ForeignValidatorOptions['issuers']
  readonly [acceptWithoutReceipt]: string
  /** Realms of ours that are taken as well. */
  readonly realm?: string | readonly string[] | undefined
}

/** A validator that follows its authority until it is stopped. */
export interface ConnectedValidator extends Validator {
  /** What it decides by, for whoever has other questions about it. */
  readonly trust: TrustSource
  /** Whether it can accept anything: there is a manifest, and word that it is the newest. Other issuers are not asked. */
  readonly isReady: boolean
  /** A validator for another audience, by the same trust, whose sightings go the same way. */
  forAudience(audience: string | readonly string[]): Validator
  /** Waits for that, but not for ever: a service that starts without its authority refuses until it is there. */
  whenReady(milliseconds: number): Promise<void>
  /** Reports what is still queued, and ends. */
  stop(): Promise<void>
}

const STALE_SECONDS_MAX = 60
/** Where people work for somebody else, a stolen token must be worth nothing. */
const BOUND_REALMS: readonly string[] = ['enterprise']

/** Starts to follow at once. Until there is a manifest, every token is refused as `manifest_stale`. */
export function connectValidator(options: ConnectOptions | ForeignConnectOptions): ConnectedValidator {
  const { authority, stateFolder, sentinel } = options
  const enrolment = readEnrolment(options.enrolment.name, options.enrolment.keyFile)
  const trustAnchor = parseTrustAnchor(JSON.parse(readFileSync(options.trustAnchorFile, 'utf8')))
  mkdirSync(stateFolder, { recursive: true, mode: 0o700 })
  const { onProblem } = options
  const folder = join(stateFolder, 'sightings')
  const reporter =
    sentinel === undefined ? undefined : createReporter({ sentinel, enrolment, folder, onProblem })
  const follower = followManifest({
    authority,
    trustAnchor,
    stateFile: join(stateFolder, 'manifest.json'),
    enrolment,
    onProblem,
    onMisbehavior: onProblem,
  })
  try {
    return connected(options, follower, reporter)
  } catch (error) {
    // A setting is of no use, and nobody gets what would have to be stopped.
    void follower.stop()
    void reporter?.stop()
    throw error
  }
}

function connected(
  options: ConnectOptions | ForeignConnectOptions,
  follower: Follower,
  reporter: Reporter | undefined,
): ConnectedValidator {
  const { audience } = options
  const settings = {
    audience,
    trust: follower,
    maxStaleSeconds: STALE_SECONDS_MAX,
    requireBinding: boundRealmsOf(options),
    denials: options.denials,
    ...(reporter && { onSighting: reporter.report }),
  }
  const foreign = 'issuers' in options ? openForeign(options, settings) : undefined
  const ours = (more: object): Validator =>
    createValidator({ ...settings, realm: options.realm ?? [], ...more })
  return {
    ...(foreign ?? ours({})),
    forAudience: (other) => {
      // It would follow the same issuers once more, and somebody would have to stop that.
      if (foreign !== undefined) throw new TypeError('a validator of other issuers has one audience')
      return ours({ audience: other })
    },
    trust: follower,
    get isReady() {
      return follower.ageSeconds() <= STALE_SECONDS_MAX
    },
    whenReady: async (milliseconds) => {
      const ready = Promise.all([follower.ready(), foreign?.ready()]).catch(() => {})
      await Promise.race([ready, delay(milliseconds, undefined, { ref: false })])
    },
    stop: async () => {
      foreign?.stop()
      await follower.stop()
      await reporter?.stop()
    },
  }
}

function openForeign(
  { issuers, realm, onProblem, ...options }: ForeignConnectOptions,
  settings: Omit<ForeignValidatorOptions, 'issuers' | 'realm' | typeof acceptWithoutReceipt>,
): ForeignValidator {
  const { [acceptWithoutReceipt]: reason } = options
  return createValidator({ ...settings, issuers, realm, onProblem, [acceptWithoutReceipt]: reason })
}

function boundRealmsOf(options: ConnectOptions | ForeignConnectOptions): readonly string[] {
  const { realm = [], boundRealms = [] } = options
  const consequence = 'a validator accepts tokens that are bound to nothing'
  if (isWeakened(bearerAllowed, options[bearerAllowed], consequence)) return []
  const taken = typeof realm === 'string' ? [realm] : realm
  return [...BOUND_REALMS.filter((bound) => taken.includes(bound)), ...boundRealms]
}
