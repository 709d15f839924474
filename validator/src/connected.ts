/**
 * A validator by trust that somebody follows and with a way to report: what `connectValidator` makes of a follower and a
 * reporter of its own, and a worker of a cluster of what its primary hands on.
 * @module
 */

import { setTimeout as delay } from 'node:timers/promises'
import type { DenialSource } from './denials.ts'
import type { ForeignIssuer, OpenIssuer } from './foreign.ts'
import type { NewsSource } from './hold.ts'
import type { TrustSource } from './manifest.ts'
import type { Reporter } from './reporter.ts'
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
  /** The one type of token that is taken. Left out: `access`. */
  readonly tokenType?: 'access' | 'id' | undefined
  /** Realms of which only tokens that are bound to their sender are taken, besides `enterprise`. */
  readonly boundRealms?: readonly string[] | undefined
  /** Why tokens that are bound to nothing are taken in the realm `enterprise` too. */
  readonly [bearerAllowed]?: string | undefined
  /** What the authority knows this service by: a name, and a file of mode 0600 with a private Ed25519 JWK. */
  readonly enrolment: { readonly name: string; readonly keyFile: string }
  /** Whether to hear of roots that the witness countersigned before their tokens come: some less work for each. Left out: no. */
  readonly pushedRoots?: boolean | undefined
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
export const BOUND_REALMS: readonly string[] = ['enterprise']

/** Whom it is connected to. Ended with it. */
export interface Connection {
  readonly trust: NewsSource & {
    /** Settles once the authority has vouched for a state. */
    ready(): Promise<void>
    stop(): Promise<void>
  }
  /** Left out: nothing is reported. */
  readonly reporter?: Pick<Reporter, 'report' | 'stop'> | undefined
}

/** What of the options makes a validator, whoever follows the authority for it. */
export type ConnectedOptions = Omit<ConnectOptions, ConnectionOption> | ForeignConnectedOptions
type ForeignConnectedOptions = Omit<ForeignConnectOptions, ConnectionOption>
type ConnectionOption = 'authority' | 'trustAnchorFile' | 'stateFolder' | 'enrolment' | 'sentinel'

/** Throws `TypeError` where an option is of no use; then nothing of the connection was touched. */
export function connected(options: ConnectedOptions, { trust, reporter }: Connection): ConnectedValidator {
  const { audience, tokenType = 'access' } = options
  const settings = {
    trust,
    tokenType,
    maxStaleSeconds: STALE_SECONDS_MAX,
    requireBinding: boundRealmsOf(options),
    denials: options.denials,
    ...(reporter && { onSighting: reporter.report }),
  }
  const { foreign, forAudience } =
    'issuers' in options ? openForeign(options, settings) : { foreign: undefined, forAudience: openOurs }

  function openOurs(audience: string | readonly string[]): Validator {
    return createValidator({ ...settings, realm: options.realm ?? [], audience })
  }

  return {
    ...(foreign ?? forAudience(audience)),
    forAudience,
    trust,
    get isReady() {
      return trust.ageSeconds() <= STALE_SECONDS_MAX
    },
    whenReady: async (milliseconds) => {
      const ready = Promise.all([trust.ready(), foreign?.ready()]).catch(() => {})
      await Promise.race([ready, delay(milliseconds, undefined, { ref: false })])
    },
    stop: async () => {
      foreign?.stop()
      await trust.stop()
      await reporter?.stop()
    },
  }
}

/** Validators of whatever audience share what follows the issuers, and it ends with the first. */
function openForeign(
  options: ForeignConnectedOptions,
  settings: Omit<ForeignValidatorOptions, 'issuers' | 'realm' | 'audience' | typeof acceptWithoutReceipt>,
): { readonly foreign: ForeignValidator; forAudience(audience: string | readonly string[]): Validator } {
  const { realm, onProblem, [acceptWithoutReceipt]: reason } = options
  const issuers = options.issuers.map(openOnce)
  const forAudience = (audience: string | readonly string[]): ForeignValidator =>
    createValidator({ ...settings, audience, issuers, realm, onProblem, [acceptWithoutReceipt]: reason })
  return { foreign: forAudience(options.audience), forAudience }
}

function openOnce(issuer: ForeignIssuer): ForeignIssuer {
  let opened: OpenIssuer | undefined
  return {
    open: (context) => {
      opened ??= issuer.open(context)
      return opened
    },
  }
}

function boundRealmsOf(options: ConnectedOptions): readonly string[] {
  const { realm = [], boundRealms = [] } = options
  const consequence = 'a validator accepts tokens that are bound to nothing'
  if (isWeakened(bearerAllowed, options[bearerAllowed], consequence)) return []
  const taken = typeof realm === 'string' ? [realm] : realm
  return [...BOUND_REALMS.filter((bound) => taken.includes(bound)), ...boundRealms]
}
