/**
 * One realm's signer: its keys, what it believes, what it has prepared. There is no call that signs bytes; what may be
 * asked is `prepare`, `sign`, `generate`, `trust`, `describe` and `counters`, and each is answered out of what the signer has
 * verified itself. Protocol: spec/signing.md.
 * @module
 */

import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { LineError } from '@countersign/lines'
import { encode } from '@countersign/validator/base64url'
import type { TrustAnchor } from '@countersign/validator/charter'
import { encodeEntry, entryOf, leafHash } from '@countersign/validator/entry'
import type { PublicJwk } from '@countersign/validator/jws'
import type { Manifest, ManifestKey, TrustState } from '@countersign/validator/manifest'
import { VerifiedRoots } from '@countersign/validator/receipt'
import { Refusal } from '@countersign/validator/refusal'
import { Counter } from './counter.ts'
import { TokenFault } from './fault.ts'
import { makeKey } from './generate.ts'
import type { HeldKey, Keystore, Protection, UsableKey } from './keystore.ts'
import { createKeystore, type KeystorePlace, openKeystore } from './keystores.ts'
import { type Draft, draftToken } from './prepare.ts'
import { RateCap } from './rate.ts'
import { testKey, testSelf } from './selftest.ts'
import { checkStillSigning, type Prepared, signPrepared } from './sign.ts'
import { Trusted } from './trusted.ts'

export interface SignerOptions extends KeystorePlace {
  readonly trustAnchor: TrustAnchor
  readonly signaturesPerSecondMax: number
  /** Seconds since the epoch. */
  readonly now?: () => number
}

/** Why one of several requests was not answered. */
export interface Problem {
  readonly error: { readonly code: string; readonly message: string; readonly retryable: boolean }
}
export interface PreparedAnswer {
  readonly id: number
  /** The encoded entry, base64url. */
  readonly entry: string
  readonly kid: string
}
export interface SignedAnswer {
  readonly token: string
}
export interface GeneratedKey {
  readonly jwk: PublicJwk
  readonly attestation: string
}
/** Who a signer is, and how its keys are kept. */
export interface SignerDescription {
  /** Thumbprint of the identity key. */
  readonly identity: string
  readonly protection: Protection
  readonly keys: readonly string[]
}
export interface KeyCounts {
  readonly kid: string
  readonly prepared: number
  readonly signed: number
  readonly last_serial: number
}

/** A receipt comes within milliseconds; what waits longer was given up. */
const PREPARED_MILLISECONDS_MAX = 30_000
const PREPARED_COUNT_MAX = 16_384
const REQUESTS_PER_CALL_MAX = 1024
/** A realm rotates daily at most and its keys end within weeks; more is somebody filling the disk. */
const KEY_COUNT_MAX = 256
/** Of the charter's age limit: by then a person has been paged twice. */
const AGE_FACTOR_MAX = 1.1

/** Makes the folder of a new signer and gives the public half of its identity key, which the charter will name. */
export async function initSigner(place: KeystorePlace): Promise<PublicJwk> {
  const { folder } = place
  await mkdir(counterFolder(folder), { recursive: true, mode: 0o700 })
  Trusted.create(seenFolder(folder))
  // Last: a folder with a keystore is whole.
  const keystore = await createKeystore(place)
  await keystore.close()
  return keystore.identity.jwk
}

/** Opens the keystore, tests itself and goes on where its counters left off. Throws `SignerFault`. */
export async function openSigner(options: SignerOptions): Promise<Signer> {
  const { folder, trustAnchor, now = () => Date.now() / 1000 } = options
  await using opened = new AsyncDisposableStack()
  const keystore = opened.adopt(await openKeystore(options), (each) => each.close())
  await testSelf(keystore)
  const trusted = new Trusted(seenFolder(folder), trustAnchor, now)
  const counters = new Map<string, Counter>()
  for (const { kid } of keystore.keys)
    counters.set(
      kid,
      opened.adopt(new Counter(counterFile(folder, kid)), (each) => each.close()),
    )
  opened.move()
  return new Signer({ ...options, now }, keystore, trusted, counters)
}

/** Destroys a signer's keys for good, then what else is in its folder. Says how many keys are left: none, if all is well. */
export async function destroySigner(place: KeystorePlace): Promise<number> {
  const keystore = await openKeystore(place)
  try {
    const left = await keystore.destroyAll()
    if (left > 0) return left
    for (const name of [counterFolder(place.folder), seenFolder(place.folder)])
      await rm(name, { recursive: true, force: true })
    return 0
  } finally {
    await keystore.close()
  }
}

function counterFolder(folder: string): string {
  return join(folder, 'counters')
}

function counterFile(folder: string, kid: string): string {
  return join(counterFolder(folder), kid)
}

function seenFolder(folder: string): string {
  return join(folder, 'trust-seen')
}

interface Waiting extends Prepared {
  readonly preparedAt: number
}

export class Signer {
  readonly #options: SignerOptions & { readonly now: () => number }
  readonly #monotonic: () => number
  readonly #trusted: Trusted
  readonly #counters: Map<string, Counter>
  readonly #rate: RateCap
  readonly #verifiedRoots = new VerifiedRoots()
  /** In the order in which they were prepared. */
  readonly #waiting = new Map<number, Waiting>()
  readonly #keystore: Keystore
  #held: ReadonlyMap<string, HeldKey>
  #nextId = 1
  /** Changes of the keystore, one after the other. */
  #changing: Promise<unknown> = Promise.resolve()

  constructor(
    options: SignerOptions & { readonly now: () => number },
    keystore: Keystore,
    trusted: Trusted,
    counters: Map<string, Counter>,
  ) {
    this.#options = options
    this.#monotonic = options.monotonic ?? (() => performance.now())
    this.#trusted = trusted
    this.#counters = counters
    this.#rate = new RateCap(options.signaturesPerSecondMax, this.#monotonic)
    this.#keystore = keystore
    this.#held = indexByKid(keystore.keys)
  }

  /** Takes newer trust, and destroys the keys that it ends: what no longer exists cannot be stolen. */
  async trust(params: {
    readonly charters: readonly unknown[]
    readonly manifest: unknown
  }): Promise<object> {
    const { charters, manifest: document } = params
    if (!Array.isArray(charters)) throw new LineError('malformed', 'charters is not a list')
    const { manifest } = this.#trusted.accept(document, charters)
    // Also one that an earlier attempt could not destroy.
    const ended = new Set(
      this.#keystore.keys.map(({ kid }) => kid).filter((kid) => hasEnded(manifest.keys.get(kid))),
    )
    // They stop at once, however long the keystore takes.
    this.#held = new Map([...this.#held].filter(([kid]) => !ended.has(kid)))
    await this.#change(() => this.#keystore.destroy(ended))
    return { version: manifest.version }
  }

  /** Decides about each request, and gives what may be signed a serial and so an entry for the log. */
  prepare(params: { readonly requests: readonly unknown[] }): {
    readonly prepared: readonly (PreparedAnswer | Problem)[]
  } {
    const requests = readRequests(params.requests)
    const now = this.#options.now()
    // What is prepared while the token is away costs a serial each and leads nowhere.
    if (this.#keystore.problem !== undefined) throw lineErrorOf(this.#keystore.problem)
    const keys = this.#signingKeys(now)
    this.#forgetLate()
    const drafts = requests.map((request) => attempt(() => this.#admit(draftToken(request, keys, now))))
    const serials = this.#takeSerials(drafts.filter((draft): draft is Draft => !isProblem(draft)))
    return {
      prepared: drafts.map((draft) => (isProblem(draft) ? draft : this.#keep(draft, serials))),
    }
  }

  /** Signs what was prepared and has a receipt. Each prepared request is answered once, whatever the answer. */
  async sign(params: { readonly requests: readonly unknown[] }): Promise<{
    readonly signed: readonly (SignedAnswer | Problem)[]
  }> {
    const requests = readRequests(params.requests)
    const { manifest } = this.#freshState(this.#options.now())
    const signed = await Promise.all(requests.map((request) => this.#signOne(request, manifest)))
    const counts = new Map<string, number>()
    for (const each of signed) if ('kid' in each) counts.set(each.kid, (counts.get(each.kid) ?? 0) + 1)
    // Counted durably first, and only then released: no signature leaves that the counters do not show.
    for (const [kid, count] of counts) this.#counters.get(kid)?.count(count)
    return { signed: signed.map((each) => ('kid' in each ? { token: each.token } : each)) }
  }

  /** Makes a key. It is durable before this settles, and nothing signs with it until a manifest says so. */
  async generate(request: unknown): Promise<GeneratedKey> {
    let counter: Counter | undefined
    const making = {
      realm: this.#options.realm,
      keystore: this.#keystore,
      charter: this.#trusted.state?.charter,
      now: Math.floor(this.#options.now()),
      prepare: async (key: UsableKey): Promise<void> => {
        await testKey(key)
        counter = Counter.create(counterFile(this.#options.folder, key.kid))
      },
    }
    return this.#change(async () => {
      if (this.#held.size >= KEY_COUNT_MAX) throw new LineError('too_many_keys', 'the keystore is full')
      const made = await makeKey(request, making).catch((error) => {
        counter?.close()
        throw error
      })
      this.#counters.set(made.kid, counter as Counter)
      this.#held = new Map([...this.#held, [made.kid, made]])
      return { jwk: made.jwk, attestation: made.attestation }
    })
  }

  describe(): SignerDescription {
    const { identity, protection } = this.#keystore
    return { identity: identity.kid, protection, keys: [...this.#held.keys()] }
  }

  counters(): { readonly keys: readonly KeyCounts[] } {
    return {
      keys: [...this.#counters].map(([kid, { counts }]) => ({
        kid,
        prepared: counts.lastSerial,
        signed: counts.signed,
        last_serial: counts.lastSerial,
      })),
    }
  }

  /** Gives back reserved serials. Nothing may be asked afterwards. */
  async stop(): Promise<void> {
    await this.#changing
    for (const counter of this.#counters.values()) counter.close()
    await this.#keystore.close()
  }

  async #signOne(request: unknown, manifest: Manifest): Promise<{ kid: string; token: string } | Problem> {
    try {
      const { id, receipt } = readReceiptOf(request)
      const prepared = this.#takeWaiting(id)
      const { kid } = prepared.key
      const held = this.#checkSigning(kid)
      const token = await signPrepared(prepared, receipt, held.sign, manifest, this.#verifiedRoots)
      // A signature may take its time, and the key may have ended meanwhile.
      this.#checkSigning(kid)
      return { kid, token }
    } catch (error) {
      return problemOf(error)
    }
  }

  /** The key, if it may still sign by the newest manifest. */
  #checkSigning(kid: string): HeldKey {
    const now = this.#options.now()
    checkStillSigning(this.#freshState(now).manifest.keys.get(kid), now)
    const held = this.#held.get(kid)
    if (held === undefined) throw new Refusal('unknown_key', { kid })
    return held
  }

  #freshState(now: number): TrustState {
    const { state } = this.#trusted
    if (state === undefined)
      throw new LineError('signer_unavailable', 'no manifest has been brought yet', { retryable: true })
    if (now >= state.manifest.expiresAt) throw new LineError('manifest_stale', 'the manifest has expired')
    return state
  }

  /** The realm's keys that the manifest lets sign, that are here, and that are not too old by the charter. */
  #signingKeys(now: number): readonly ManifestKey[] {
    const { charter, manifest } = this.#freshState(now)
    const { realm } = this.#options
    const ageSecondsMax = (charter.realms.get(realm)?.keyAgeSecondsMax ?? 0) * AGE_FACTOR_MAX
    return [...manifest.keys.values()].filter((key) => {
      const held = this.#held.get(key.kid)
      return (
        key.realm === realm &&
        key.state === 'active' &&
        key.notBefore <= now &&
        now <= key.signUntil &&
        held !== undefined &&
        now - held.attested.issuedAt <= ageSecondsMax
      )
    })
  }

  #admit(draft: Draft): Draft {
    if (this.#waiting.size >= PREPARED_COUNT_MAX)
      throw new LineError('signer_unavailable', 'too much is prepared and not signed', { retryable: true })
    if (!this.#rate.take(draft.key.kid))
      throw new LineError('rate_limited', 'the key signs no faster', { retryable: true })
    return draft
  }

  /** The next serials of each key, in the order of the drafts. */
  #takeSerials(drafts: readonly Draft[]): ReadonlyMap<Draft, number> {
    const serials = new Map<Draft, number>()
    for (const [kid, ofKey] of Map.groupBy(drafts, ({ key }) => key.kid)) {
      const first = this.#counters.get(kid)?.take(ofKey.length)
      if (first === undefined)
        throw new LineError('signer_unavailable', 'the key has just ended', { retryable: true })
      ofKey.forEach((draft, at) => {
        serials.set(draft, first + at)
      })
    }
    return serials
  }

  #keep(draft: Draft, serials: ReadonlyMap<Draft, number>): PreparedAnswer {
    const { kid } = draft.key
    const serial = serials.get(draft) as number
    const { type, issuedAt, expiresAt, payloadSegment } = draft
    const entry = encodeEntry(entryOf({ tokenType: type, kid, issuedAt, expiresAt, serial, payloadSegment }))
    const id = this.#nextId++
    const waiting = { ...draft, serial, entry, leafHash: leafHash(entry), preparedAt: this.#monotonic() }
    this.#waiting.set(id, waiting)
    return { id, entry: encode(entry), kid }
  }

  #takeWaiting(id: number): Prepared {
    this.#forgetLate()
    const prepared = this.#waiting.get(id)
    if (prepared === undefined) throw new LineError('unknown_request', 'nothing is prepared under this id')
    this.#waiting.delete(id)
    return prepared
  }

  #forgetLate(): void {
    const limit = this.#monotonic() - PREPARED_MILLISECONDS_MAX
    for (const [id, { preparedAt }] of this.#waiting) {
      if (preparedAt >= limit) return
      this.#waiting.delete(id)
    }
  }

  /** Changes of the keystore, one after the other. */
  #change<Result>(change: () => Promise<Result>): Promise<Result> {
    const changed = this.#changing.then(change).catch((error) => {
      throw error instanceof TokenFault ? lineErrorOf(error) : error
    })
    this.#changing = changed.catch(() => {})
    return changed
  }
}

function hasEnded(key: ManifestKey | undefined): boolean {
  return key?.state === 'retired' || key?.state === 'revoked'
}

function indexByKid(keys: readonly HeldKey[]): ReadonlyMap<string, HeldKey> {
  return new Map(keys.map((key) => [key.kid, key]))
}

function readRequests(requests: unknown): readonly unknown[] {
  if (!Array.isArray(requests) || requests.length > REQUESTS_PER_CALL_MAX)
    throw new LineError('malformed', `requests is not a list of at most ${REQUESTS_PER_CALL_MAX}`)
  return requests
}

function readReceiptOf(request: unknown): { readonly id: number; readonly receipt: string } {
  const { id, receipt } = (request ?? {}) as { readonly id?: unknown; readonly receipt?: unknown }
  if (typeof id !== 'number') throw new LineError('malformed', 'id is not a number')
  if (typeof receipt !== 'string') throw new Refusal('receipt_missing')
  return { id, receipt }
}

/** Refusals concern one request of a batch; whatever else is thrown, all of it. */
function attempt<Result>(decide: () => Result): Result | Problem {
  try {
    return decide()
  } catch (error) {
    return problemOf(error)
  }
}

function problemOf(error: unknown): Problem {
  if (error instanceof Refusal)
    return { error: { code: error.reason, message: error.message, retryable: false } }
  if (error instanceof LineError || error instanceof TokenFault)
    return { error: { code: error.code, message: error.message, retryable: error.retryable } }
  throw error
}

function lineErrorOf({ code, message, retryable }: TokenFault): LineError {
  return new LineError(code, message, { retryable })
}

function isProblem<Result extends object>(result: Result | Problem): result is Problem {
  return 'error' in result
}
