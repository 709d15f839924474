/**
 * One life of a token: found, logged in to once, and used until it is closed or goes away. Whoever holds it opens another
 * when it has gone. A wrong PIN is never tried twice: tokens lock after a few, and keys that are locked away are lost.
 * @module
 */

import { CKF, CKR, CKU_USER, type Cryptoki, type Handle, type Mechanism, returnValueOf } from './cryptoki.ts'
import { TokenFault, type TokenProblem } from './fault.ts'
import type { TokenAddress } from './token-uri.ts'

/** What opens a token, and whether the token has refused it before. */
export interface Pin {
  readonly value: string
  wasRefused(): boolean
  rememberRefusal(): void
}

/** So many signatures are under way at once where each takes long: more than most tokens have engines. */
export const SESSION_COUNT_MAX = 8
/**
 * A signature that takes less is made in place: with SoftHSM (0.035 ms) a thread and back costs more than it saves. One
 * that waits for a network or a chip is made on another thread, several at once, and the signer goes on meanwhile.
 */
const IN_PLACE_MILLISECONDS_MAX = 0.3

interface PooledSession {
  readonly handle: Handle
  /** Where the addon reads and writes on another thread: it keeps no reference, so these live as long as the session. */
  readonly input: Buffer
  readonly output: Buffer
}

/** An RSA key of 4096 bits gives this much, and what is signed of a token fits too. */
const SESSION_BUFFER_BYTES = 16 * 1024

export class Token {
  readonly cryptoki: Cryptoki
  /** For everything but signatures. */
  readonly session: Handle
  readonly serial: string
  readonly label: string
  readonly mechanisms: ReadonlySet<number>
  readonly #isThreaded: boolean
  readonly #slot: Handle
  readonly #idle: PooledSession[] = []
  readonly #waiting: ((session: PooledSession) => void)[] = []
  readonly #underWay = new Set<Promise<unknown>>()
  readonly #own: PooledSession
  #sessionCount = 0
  #isSlow = false
  #isClosed = false

  /** Finds the token and logs in. Throws `TokenFault`. */
  constructor(cryptoki: Cryptoki, address: TokenAddress, pin: Pin) {
    this.cryptoki = cryptoki
    this.#isThreaded = initialize(cryptoki)
    try {
      const slot = findSlot(cryptoki, address)
      this.#slot = slot
      const info = cryptoki.C_GetTokenInfo(slot)
      this.serial = trimmed(info.serialNumber)
      this.label = trimmed(info.label)
      checkFlags(info.flags, this.label, pin)
      this.session = cryptoki.C_OpenSession(slot, CKF.rwSession | CKF.serialSession)
      if ((info.flags & CKF.loginRequired) !== 0) logIn(cryptoki, this.session, pin)
      this.mechanisms = new Set(cryptoki.C_GetMechanismList(slot))
      this.#own = pooled(this.session)
    } catch (error) {
      finalize(cryptoki)
      throw faultOf(error)
    }
  }

  /** Tells the token how long one signature takes, and so whether the next are made in place. */
  measured(milliseconds: number): void {
    this.#isSlow = this.#isThreaded && milliseconds > IN_PLACE_MILLISECONDS_MAX
  }

  /** Throws, or rejects with, what the module said. */
  sign(key: Handle, mechanism: Mechanism, data: Buffer): Uint8Array | Promise<Uint8Array> {
    if (!this.#isSlow) {
      this.cryptoki.C_SignInit(this.session, mechanism, key)
      // A copy: the buffer is used again by the next signature.
      return Uint8Array.from(this.cryptoki.C_Sign(this.session, data, this.#own.output))
    }
    const signing = this.#signOnThread(key, mechanism, data)
    this.#underWay.add(signing)
    const forget = (): void => void this.#underWay.delete(signing)
    signing.then(forget, forget)
    return signing
  }

  /** Ends every session once nothing is under way. Never throws: the token may be gone. */
  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    await Promise.allSettled(this.#underWay)
    finalize(this.cryptoki)
  }

  async #signOnThread(key: Handle, mechanism: Mechanism, data: Buffer): Promise<Uint8Array> {
    const session = await this.#takeSession()
    try {
      const input = session.input.subarray(0, data.copy(session.input))
      this.cryptoki.C_SignInit(session.handle, mechanism, key)
      return Uint8Array.from(await this.cryptoki.C_SignAsync(session.handle, input, session.output))
    } finally {
      const next = this.#waiting.shift()
      if (next === undefined) this.#idle.push(session)
      else next(session)
    }
  }

  #takeSession(): PooledSession | Promise<PooledSession> {
    const idle = this.#idle.pop()
    if (idle !== undefined) return idle
    if (this.#sessionCount < SESSION_COUNT_MAX) {
      try {
        const session = pooled(this.cryptoki.C_OpenSession(this.#slot, CKF.serialSession))
        this.#sessionCount++
        return session
      } catch (error) {
        // A token with fewer sessions than we would like serves with those that it has.
        if (returnValueOf(error) !== CKR.sessionCount || this.#sessionCount === 0) throw error
      }
    }
    return new Promise((resolve) => this.#waiting.push(resolve))
  }
}

function pooled(handle: Handle): PooledSession {
  return {
    handle,
    input: Buffer.alloc(SESSION_BUFFER_BYTES),
    output: Buffer.alloc(SESSION_BUFFER_BYTES),
  }
}

/** Whether an error says that the token, or what was known of it, has gone: then another life may help. */
export function isGone(error: unknown): boolean {
  return gone.includes(returnValueOf(error) as number)
}

const gone: readonly number[] = [
  CKR.generalError,
  CKR.functionFailed,
  CKR.slotIdInvalid,
  CKR.deviceError,
  CKR.deviceRemoved,
  CKR.keyHandleInvalid,
  CKR.objectHandleInvalid,
  CKR.sessionClosed,
  CKR.sessionHandleInvalid,
  CKR.tokenNotPresent,
  CKR.tokenNotRecognized,
  CKR.userNotLoggedIn,
  CKR.cryptokiNotInitialized,
]

/** What a module's error means to whoever looks after the token. */
export function faultOf(error: unknown): Error {
  const value = returnValueOf(error)
  if (value === undefined) return error as Error
  const [code, message] = meanings.get(value) ?? [
    isGone(error) ? 'token_removed' : 'module_failed',
    isGone(error) ? REMOVED : 'the module failed',
  ]
  return new TokenFault(code, `${message} (${(error as Error).message})`)
}

const REMOVED =
  'the token has gone or its connection has: put it back, and the signer goes on by itself with the next request'

const meanings: ReadonlyMap<number, readonly [TokenProblem, string]> = new Map<
  number,
  readonly [TokenProblem, string]
>([
  [
    CKR.sessionCount,
    ['session_limit', 'the token has no session left: end another program that uses it, or raise its limit'],
  ],
  [
    CKR.deviceMemory,
    ['token_full', 'the token is full: destroy keys that nobody uses, or take a larger one'],
  ],
  [
    CKR.pinLocked,
    ['pin_locked', 'the PIN is locked: its security officer has to set it anew, and then the signer starts'],
  ],
  [CKR.pinExpired, ['pin_locked', 'the PIN has expired: set it anew, and then the signer starts']],
  [
    CKR.userPinNotInitialized,
    ['token_uninitialised', 'the token has no user PIN: initialise it first, as docs/hardware.md says'],
  ],
  [
    CKR.mechanismInvalid,
    ['mechanism_missing', 'the token does not offer the mechanism: choose another algorithm or token'],
  ],
])

const refusedPins: readonly (number | undefined)[] = [CKR.pinIncorrect, CKR.pinInvalid, CKR.pinLenRange]

function logIn(cryptoki: Cryptoki, session: Handle, pin: Pin): void {
  try {
    cryptoki.C_Login(session, CKU_USER, pin.value)
  } catch (error) {
    const value = returnValueOf(error)
    if (value === CKR.userAlreadyLoggedIn) return
    if (!refusedPins.includes(value)) throw error
    pin.rememberRefusal()
    throw new TokenFault(
      'pin_wrong',
      'the token refused the PIN. It is not tried again, since tokens lock after a few: write the right one into its file',
    )
  }
}

function checkFlags(flags: number, label: string, pin: Pin): void {
  if ((flags & CKF.tokenInitialized) === 0 || (flags & CKF.userPinInitialized) === 0)
    throw new TokenFault(
      'token_uninitialised',
      `the token ${label} has no user PIN: initialise it first, as docs/hardware.md says`,
    )
  if ((flags & CKF.userPinLocked) !== 0)
    throw new TokenFault(
      'pin_locked',
      'the PIN is locked: its security officer has to set it anew, and then the signer starts',
    )
  if (pin.wasRefused())
    throw new TokenFault(
      'pin_refused_before',
      'the token refused the PIN in this file before, so it is not tried again: write the right one into the file',
    )
  if ((flags & CKF.userPinFinalTry) !== 0)
    throw new TokenFault(
      'pin_last_try',
      'the token locks with one more wrong PIN, so none is tried: log in once by hand, which clears the count',
    )
}

/** Whether the module may be used by several threads at once. */
function initialize(cryptoki: Cryptoki): boolean {
  try {
    cryptoki.C_Initialize({ flags: CKF.osLockingOk })
    return true
  } catch (error) {
    const value = returnValueOf(error)
    if (value === CKR.cryptokiAlreadyInitialized) return false
    if (value !== CKR.cantLock) throw failed(error)
  }
  try {
    cryptoki.C_Initialize()
    return false
  } catch (error) {
    throw failed(error)
  }
}

function failed(error: unknown): TokenFault {
  return new TokenFault(
    'module_failed',
    `the module could not be initialised (${(error as Error).message}): its own configuration may be missing`,
  )
}

function finalize(cryptoki: Cryptoki): void {
  try {
    cryptoki.C_Finalize()
  } catch {
    // Of a module whose token was pulled out, nothing better can be expected.
  }
}

function findSlot(cryptoki: Cryptoki, address: TokenAddress): Handle {
  const found = cryptoki
    .C_GetSlotList(true)
    .filter((slot) => address.slotId === undefined || numberOf(slot) === address.slotId)
    .map((slot) => ({ slot, info: cryptoki.C_GetTokenInfo(slot) }))
    .filter(
      ({ info }) =>
        is(address.token, info.label) &&
        is(address.serial, info.serialNumber) &&
        is(address.manufacturer, info.manufacturerID) &&
        is(address.model, info.model),
    )
  const [first, ...others] = found
  if (first === undefined)
    throw new TokenFault(
      'token_missing',
      'no slot has the token that the URI names: plug it in, start its service, or correct the URI',
    )
  if (others.length > 0) {
    const serials = found.map(({ info }) => trimmed(info.serialNumber)).join(', ')
    throw new TokenFault(
      'token_ambiguous',
      `${found.length} tokens are what the URI names: add serial= with one of ${serials}`,
    )
  }
  return first.slot
}

function is(wanted: string | undefined, padded: string): boolean {
  return wanted === undefined || trimmed(padded) === wanted
}

/** Texts of a token are padded with spaces; some modules pad with zeros instead. */
function trimmed(padded: string): string {
  return padded.replace(/[\0 ]+$/, '')
}

/** A slot's number, which the addon hands over as the bytes of an unsigned long. */
function numberOf(slot: Handle): number {
  return Number(slot.length === 8 ? slot.readBigUInt64LE() : slot.readUInt32LE())
}
