/**
 * What must hold in every world, whatever happens to it. The oracle sees what no party does: every manifest that the
 * authority ever showed, every token that left, what lies durably in the log, and the true time. It hears of each event where
 * something could break, and throws `Violation` when it did.
 * @module
 */

import { createHash } from 'node:crypto'
import type { Signer } from '@countersign/signer/core'
import { decode, encode } from '@countersign/validator/base64url'
import { readPayload } from '@countersign/validator/document'
import { decodeEntry, encodeEntry, entryOf } from '@countersign/validator/entry'
import { readCompact } from '@countersign/validator/jws'
import { decodeReceipt } from '@countersign/validator/receipt'
import type { Decision } from '@countersign/validator/validator'
import type { HttpRequest, Sent } from './network.ts'
import { CACHE_SECONDS } from './plan.ts'
import type { Host } from './scheduler.ts'
import type { System } from './system.ts'

/** The invariants, by the word that a failure prints. */
export const invariants = {
  'dead-key-accepted': 'no token is accepted under a key that its validator should know dead',
  'forgery-accepted': 'no token is accepted that no signer signed for that very entry of the log',
  'ahead-of-charter': 'no validator is ahead of the charter',
  'version-went-back': 'versions only grow per validator and signer, over restarts too',
  unlogged: 'no token is released that is not durably in the log of the witness',
  'split-view': 'two different manifests are never shown under one version',
  'split-roots': 'a witness never signs two roots for one range of a log, whatever its disk forgets',
  'realm-without-key': 'rotation alone never leaves a realm without a signing key',
  'unheard-key-active':
    'rotation lets no key sign that an enrolled validator has not heard of, but for one silent too long',
  'serial-repeated': 'no serial is used twice',
  'dead-key-signed': 'a key that is dead never signs again at its signer',
  'dead-key-logged': 'the witness logs nothing for a key that it knows dead',
  fault: 'no process fails in a way that it was not made for',
  liveness:
    'once all has healed, validators reach the newest version, and tokens are issued and accepted again',
} as const
export type Invariant = keyof typeof invariants

export class Violation extends Error {
  readonly invariant: Invariant
  constructor(invariant: Invariant, message: string) {
    super(message)
    this.name = 'Violation'
    this.invariant = invariant
  }
}

interface ShownKey {
  readonly realm: string
  readonly issuer: string
  readonly state: string
  readonly notBefore: number
  readonly signUntil: number
  readonly blockedAt: number | undefined
}

/** A manifest that the authority has shown to somebody. */
export interface Shown {
  readonly version: number
  readonly payload: string
  readonly charterVersion: number
  readonly issuedAt: number
  readonly keys: ReadonlyMap<string, ShownKey>
  /** As it was delivered, with its freshness. */
  readonly text: string
  readonly sent: Sent
}

/** A token as it left, or as a thief made it. */
export interface Issued {
  readonly token: string
  readonly kid: string
  readonly realm: string
  /** How it was forged; undefined for one that was issued. */
  readonly forged?: string
}

interface Released {
  readonly path: string
  readonly index: number
  readonly entry: Uint8Array
}

/** By default a validator decides by trust of at most this age. */
const STALE_SECONDS_MAX = 60
/** Statements name whole seconds. */
const ROUNDING_SECONDS = 2
const RECORD_BYTES = 92
const signing: ReadonlySet<string> = new Set(['active', 'retiring'])
const killed: ReadonlySet<string> = new Set(['blocked', 'revoked'])
const dead: ReadonlySet<string> = new Set(['retired', 'blocked', 'revoked'])

export class Oracle {
  violation: Violation | undefined
  readonly shown = new Map<number, Shown>()
  readonly counts = { issued: 0, refused: 0, accepted: 0, commands: 0, crashes: 0 }
  /** Why issuing and the like did not work, with how often: for whoever looks into a failure. */
  readonly reasons = new Map<string, number>()
  #system: System | undefined
  #charterVersion = 1
  readonly #payloads = new Set<string>()
  readonly #names = new Map<string, string>()
  readonly #hash = createHash('sha256')
  readonly #tail: string[] = []
  readonly #acknowledged = new Map<string, number>()
  readonly #applied = new Map<string, number>()
  readonly #signerSeen = new Map<string, number>()
  readonly #signerApplied = new Map<string, number>()
  readonly #signerBrought = new Map<string, number>()
  readonly #prepared = new Map<string, string>()
  readonly #released: Released[] = []
  /** Since when, by true time, and from which version on a key is known dead. */
  readonly #deadSince = new Map<string, { readonly at: number; readonly version: number }>()
  readonly #retired = new Set<string>()
  readonly #rotated = new Set<string>()
  /** By name, since when a validator is enrolled. */
  readonly #enrolled = new Map<string, number>()
  /** By key, the manifest that named it first. */
  readonly #firstNamed = new Map<string, Shown>()
  /** By validator, until when by true time what it has heard may count. */
  readonly #vouchedUntil = new Map<string, number>()
  readonly #skews = new Map<string, { least: number; most: number }>()

  readonly #tailLinesMax: number

  constructor(tailLinesMax: number) {
    this.#tailLinesMax = tailLinesMax
  }

  attach(system: System): void {
    this.#system = system
    system.network.onRequest = (request) => this.#onRequest(request)
    system.network.onAnswer = (from, to, text, sent) => {
      if (from !== 'authority') return
      this.#onAnswer(text, sent)
      if (text.includes('freshness')) this.onVouching(to, sent)
    }
  }

  get traceHash(): string {
    return this.#hash.copy().digest('hex')
  }

  get tail(): readonly string[] {
    return this.#tail
  }

  get newest(): Shown | undefined {
    return this.shown.get(Math.max(0, ...this.shown.keys()))
  }

  /** A line of the trace. Only names that are the same in every run of a seed. */
  note(text: string): void {
    const line = `${this.#now().toFixed(1)} ${text}`
    this.#hash.update(`${line}\n`)
    this.#tail.push(line)
    if (this.#tail.length > this.#tailLinesMax) this.#tail.shift()
  }

  count(reason: string): void {
    this.reasons.set(reason, (this.reasons.get(reason) ?? 0) + 1)
  }

  /** Keys are named by realm, in the order in which they were first shown. */
  nameOf(kid: string): string {
    return this.#names.get(kid) ?? 'a key not shown'
  }

  break(invariant: Invariant, message: string): never {
    const violation = new Violation(invariant, message)
    this.violation ??= violation
    this.note(`BROKEN ${invariant}: ${message}`)
    throw violation
  }

  onSkew(host: string, milliseconds: number): void {
    const known = this.#skews.get(host) ?? { least: 0, most: 0 }
    this.#skews.set(host, {
      least: Math.min(known.least, milliseconds),
      most: Math.max(known.most, milliseconds),
    })
  }

  onProblem(name: string, problem: Error): void {
    this.count(`${name}: ${problem.message}`)
    if (problem.name === 'SplitView') this.break('split-view', `${name}: ${problem.message}`)
    if (problem.name === 'SplitRoots') this.break('split-roots', `${name}: ${problem.message}`)
  }

  onLog(name: string, level: string, message: string, error = ''): void {
    this.count(`${name} ${level}: ${message} ${error}`)
    this.note(`${name} ${level}: ${message}`)
    if (bugMessage.test(error)) this.break('fault', `${name}: ${error}`)
  }

  onFailedStart(name: string, error: Error): void {
    this.count(`${name} did not start: ${error.message}`)
    this.note(`${name} did not start`)
    if (isBug(error)) this.break('fault', `${name} did not start: ${error.stack}`)
  }

  onFault(name: string, message: string): void {
    if (message === 'the process has ended') return
    this.break('fault', `${name}: ${message}`)
  }

  onCommand(op: string, kid: string | undefined, realm: string | undefined): void {
    if (op === 'retire' && kid !== undefined) this.#retired.add(kid)
    if ((op === 'rotate' || op === 'break-glass') && realm !== undefined) this.#rotated.add(realm)
  }

  onEnrolled(name: string): void {
    this.note(`${name} is enrolled`)
    this.#enrolled.set(name, this.#now())
  }

  onCharterApproved(version: number): void {
    this.#charterVersion = Math.max(version, this.#charterVersion)
  }

  /** The authority says that a command is carried out in this version. */
  onCommandAnswer(op: string, kid: string | undefined, version: number): void {
    this.counts.commands++
    if (kid !== undefined && (op === 'block' || op === 'revoke')) this.#setDead(kid, version)
  }

  onSignerStarted(realm: string): void {
    this.note(`signer-${realm} runs`)
    this.#signerApplied.set(realm, 0)
  }

  /** A signer whose answers are looked at as they leave it. */
  watchSigner(realm: string, signer: Signer): Signer {
    return new Proxy(signer, {
      get: (target, name) => {
        if (name === 'trust') {
          return async (params: Parameters<Signer['trust']>[0]) => {
            const shown = versionOf(params.manifest)
            // It counts at once for the signer, which then still has keys to destroy before it answers.
            this.#signerBrought.set(realm, shown)
            const answer = await target.trust(params)
            this.#onSignerTrust(realm, (answer as { readonly version: number }).version)
            return answer
          }
        }
        if (name === 'prepare') {
          return async (params: Parameters<Signer['prepare']>[0]) => {
            const answer = await target.prepare(params)
            for (const each of answer.prepared) if ('entry' in each) this.#onPrepared(realm, each.entry)
            return answer
          }
        }
        if (name === 'sign') {
          return async (params: Parameters<Signer['sign']>[0]) => {
            const answer = await target.sign(params)
            for (const each of answer.signed) if ('token' in each) this.#onSigned(realm, each.token)
            return answer
          }
        }
        const value = Reflect.get(target, name) as unknown
        return typeof value === 'function' ? value.bind(target) : value
      },
    })
  }

  /** A token has reached whoever asked for it. */
  onIssued(realm: string, token: string): Issued {
    this.counts.issued++
    const { header, claims, payloadSegment } = readCompact(token)
    const kid = header.kid ?? ''
    const receipt = decodeReceipt(decode(header.rcpt ?? ''))
    const index = receipt.start + receipt.offset
    const entry = encodeEntry(
      entryOf({
        tokenType: 'access',
        kid,
        issuedAt: claims['iat'] as number,
        expiresAt: claims['exp'] as number,
        serial: receipt.serial,
        payloadSegment,
      }),
    )
    const path = this.#epochs().find((file) => this.#isLoggedAt(file, index, entry))
    if (path === undefined) {
      this.break('unlogged', `a token of ${this.nameOf(kid)} with serial ${receipt.serial} was released`)
    }
    this.#released.push({ path, index, entry })
    this.note(`${realm} got a token of ${this.nameOf(kid)} with serial ${receipt.serial}`)
    return { token, kid, realm }
  }

  /** What a validator decided, at the moment at which it did. */
  onDecision(validator: string, version: number, issued: Issued, decision: Decision): void {
    const { kid, forged } = issued
    if (!decision.accepted) {
      this.counts.refused++
      this.count(`refused: ${decision.refusal.reason}`)
      this.note(`${validator} refuses ${this.nameOf(kid)}: ${decision.refusal.reason}`)
      return
    }
    this.counts.accepted++
    this.note(`${validator} at version ${version} accepts ${this.nameOf(kid)}`)
    if (forged !== undefined) this.break('forgery-accepted', `${validator} took what was forged: ${forged}`)
    const known = Math.max(version, this.#acknowledged.get(validator) ?? 0)
    const state = this.shown.get(known)?.keys.get(kid)?.state ?? 'unknown'
    if (!signing.has(state)) {
      this.break(
        'dead-key-accepted',
        `${validator} at version ${version} took ${this.nameOf(kid)}, ${state} in version ${known}`,
      )
    }
    this.#checkStale(validator, version, kid)
  }

  /** Looks at what validators hold, between two events. */
  check(): void {
    if (this.violation !== undefined) throw this.violation
    const system = this.#system as System
    for (const { name, running, process } of system.validators) {
      if (running === undefined || process === undefined) continue
      const { state } = running.trust
      if (state === undefined) continue
      const { version, charterVersion } = state.manifest
      this.#grow(this.#applied, `${name} ${process.startedAt}`, version, name)
      if (version < (this.#acknowledged.get(name) ?? 0)) {
        this.break('version-went-back', `${name} holds ${version} and has acknowledged a newer one`)
      }
      if (!this.shown.has(version)) this.break('split-view', `${name} holds ${version}, never shown`)
      if (state.charter.version > this.#charterVersion || state.charter.version !== charterVersion) {
        this.break('ahead-of-charter', `${name} holds charter ${state.charter.version}`)
      }
      for (const { realm, kid } of state.manifest.keys.values()) {
        if (!state.charter.realms.has(realm)) this.break('ahead-of-charter', `${name} holds ${kid}`)
      }
    }
  }

  /** Everything released is still in the durable part of the log, where it was. */
  checkReleased(): void {
    for (const { path, index, entry } of this.#released) {
      if (!this.#isLoggedAt(path, index, entry)) this.break('unlogged', `entry ${index} is gone from ${path}`)
    }
  }

  /** No serial stands in the log twice; asked when the log is whole. */
  checkSerials(): void {
    const last = new Map<string, number>()
    for (const { kid, serial } of this.#entries()) {
      if (serial <= (last.get(kid) ?? 0)) {
        this.break('serial-repeated', `the log holds serial ${serial} of ${this.nameOf(kid)} out of order`)
      }
      last.set(kid, serial)
    }
  }

  /** The newest manifest in the log, whoever has heard of it. */
  newestLogged(): { readonly version: number; readonly sha256: string } | undefined {
    const last = this.#entries().findLast(({ kid }) => kid === MANIFESTS)
    return last && { version: last.serial, sha256: last.sha256 }
  }

  /** The newest version that the witness is known to have applied. */
  acknowledgedBy(name: string): number {
    return this.#acknowledged.get(name) ?? 0
  }

  isDeadIn(version: number, kid: string): boolean {
    return dead.has(this.shown.get(version)?.keys.get(kid)?.state ?? '')
  }

  /** In that version and in every one that was shown since. */
  isDeadSince(version: number, kid: string): boolean {
    return [...this.shown.keys()].every((each) => each < version || this.isDeadIn(each, kid))
  }

  #now(): number {
    return this.#system?.scheduler.now ?? 0
  }

  #checkStale(validator: string, version: number, kid: string): void {
    const since = this.#deadSince.get(kid)
    if (since === undefined || version >= since.version) return
    const secondsLate = (this.#now() - (this.#vouchedUntil.get(validator) ?? 0)) / 1000
    if (secondsLate <= 0) return
    this.break(
      'dead-key-accepted',
      `${validator} at version ${version} took ${this.nameOf(kid)}, dead in ${since.version}, ` +
        `${secondsLate.toFixed(0)} s after it should have failed closed`,
    )
  }

  /**
   * Until when the authority's word may be relied on. One that was held back passes for younger, but only by as much as the
   * clock of whoever hears it is behind.
   */
  onVouching(to: Host, { at, skewMilliseconds }: Sent): void {
    // A manifest is never dated before the one it follows, so a clock that was ahead once shows for a while.
    const ahead = Math.max(skewMilliseconds, this.#skews.get('authority')?.most ?? 0)
    const unseen = Math.min(this.#now() - at, Math.max(0, ahead - to.skewMilliseconds))
    const until = at + unseen + (STALE_SECONDS_MAX + ROUNDING_SECONDS) * 1000
    this.#vouchedUntil.set(to.name, Math.max(until, this.#vouchedUntil.get(to.name) ?? 0))
  }

  #setDead(kid: string, version: number): void {
    const known = this.#deadSince.get(kid)
    if (known === undefined) this.#deadSince.set(kid, { at: this.#now(), version })
  }

  #grow(seen: Map<string, number>, key: string, version: number, name: string): void {
    const before = seen.get(key) ?? 0
    if (version < before) this.break('version-went-back', `${name} went from ${before} to ${version}`)
    seen.set(key, version)
  }

  #onRequest({ method, url, body }: HttpRequest): void {
    if (method !== 'POST' || url.hostname !== 'authority' || url.pathname !== '/acks') return
    const { validator, version } = readPayload(body.split('.')[1] ?? '') as {
      readonly validator: string
      readonly version: number
    }
    this.#acknowledged.set(validator, Math.max(version, this.#acknowledged.get(validator) ?? 0))
  }

  /** Notes each manifest in what the authority sends. */
  #onAnswer(text: string, sent: Sent): void {
    for (const [, payload = ''] of text.matchAll(/"payload":"([\w-]+)"/g)) {
      if (this.#payloads.has(payload)) continue
      this.#payloads.add(payload)
      const content = readPayload(payload) as {
        readonly version: number
        readonly charter_version: number
        readonly iat: number
        readonly keys?: readonly Readonly<Record<string, unknown>>[]
        readonly cutoffs?: unknown
      }
      if (content.keys === undefined || content.cutoffs === undefined) continue
      this.#onManifest({
        version: content.version,
        payload,
        charterVersion: content.charter_version,
        issuedAt: content.iat,
        keys: new Map(content.keys.map((key) => [key['kid'] as string, shownKey(key)])),
        text: text.slice(text.indexOf('{"payload"')).split('\n', 1)[0] as string,
        sent,
      })
    }
  }

  #onManifest(shown: Shown): void {
    const { version, keys } = shown
    const same = this.shown.get(version)
    if (same !== undefined)
      this.break('split-view', `the authority shows two manifests as version ${version}`)
    for (const [kid, { realm }] of keys) {
      if (this.#names.has(kid)) continue
      const number = [...this.#names.values()].filter((name) => name.startsWith(`${realm}-`)).length + 1
      this.#names.set(kid, `${realm}-${number}`)
      this.#firstNamed.set(kid, shown)
    }
    const states = [...keys].map(([kid, { state }]) => `${this.nameOf(kid)} ${state}`)
    this.note(`the authority shows version ${version}: ${states.join(', ')}`)
    const before = [...this.shown.values()].filter((other) => other.version < version)
    const last = before.reduce<Shown | undefined>(
      (newest, each) => (each.version > (newest?.version ?? 0) ? each : newest),
      undefined,
    )
    this.shown.set(version, shown)
    for (const [kid, { state }] of keys) {
      if (killed.has(state)) this.#setDead(kid, version)
      // Two people have let it go.
      else if (version > (this.#deadSince.get(kid)?.version ?? version)) this.#deadSince.delete(kid)
    }
    if (last === undefined) return
    this.#checkRealms(last, shown)
    for (const [kid, { state, realm }] of keys) {
      const isNew = state === 'active' && last.keys.get(kid)?.state === 'published'
      if (isNew && !this.#rotated.has(realm) && !this.#isPressing(realm, last, shown))
        this.#checkHeard(kid, shown)
    }
  }

  /** When the active key is about to grow too old, the silent are not waited for: no validator would get a token. */
  #isPressing(realm: string, before: Shown, { issuedAt }: Shown): boolean {
    const { plan } = this.#system as System
    const margin = Math.min(CLOCK_SKEW_SECONDS, Math.floor(plan.rotationSeconds / 4))
    return [...before.keys.values()].some(
      (key) => key.realm === realm && key.state === 'active' && key.signUntil - margin <= issuedAt,
    )
  }

  /** Whoever was put back to an old copy may have forgotten who is enrolled; then there is nothing to hold against it. */
  #checkHeard(kid: string, { issuedAt }: Shown): void {
    const { plan } = this.#system as System
    const first = this.#firstNamed.get(kid)
    if (first === undefined || plan.hazards.has('old-backups')) return
    const { least, most } = this.#skews.get('authority') ?? { least: 0, most: 0 }
    const patience = plan.acknowledgeSeconds - ROUNDING_SECONDS
    const unsure = (most - least) / 1000
    // The manifest that named it first may have been fetched by nobody; the key says when that was.
    const notBefore = first.keys.get(kid)?.notBefore ?? Number.POSITIVE_INFINITY
    const namedAt = Math.min(first.issuedAt, notBefore - 2 * CACHE_SECONDS)
    for (const [name, enrolledAt] of this.#enrolled) {
      if ((this.#acknowledged.get(name) ?? 0) >= first.version) continue
      const known = (this.#now() - enrolledAt) / 1000
      if (Math.min(issuedAt - namedAt, known) >= patience - unsure) continue
      this.break('unheard-key-active', `${this.nameOf(kid)} signs, and ${name} has not heard of it`)
    }
  }

  #checkRealms(before: Shown, after: Shown): void {
    for (const [kid, key] of before.keys) {
      if (key.state !== 'active') continue
      const others = [...after.keys.values()].filter(
        ({ realm, issuer }) => realm === key.realm && issuer === key.issuer,
      )
      const now = after.keys.get(kid)?.state ?? 'gone'
      if (others.some(({ state }) => state === 'active') || now === 'blocked' || now === 'revoked') continue
      // Of several versions only the last may have been shown: the key that took over may be the one that a person ended.
      const wasEnded = [...after.keys].some(
        ([other, { realm, issuer, state }]) =>
          realm === key.realm &&
          issuer === key.issuer &&
          (killed.has(state) || this.#retired.has(other)) &&
          state !== before.keys.get(other)?.state,
      )
      if (this.#retired.has(kid) || wasEnded) continue
      const hadSuccessor = [...before.keys].some(
        ([next, { realm, issuer, state, notBefore, signUntil }]) =>
          state === 'published' &&
          after.keys.get(next)?.state === 'published' &&
          signUntil > after.issuedAt &&
          realm === key.realm &&
          issuer === key.issuer &&
          notBefore + SUCCESSOR_SECONDS <= after.issuedAt,
      )
      if (after.issuedAt >= key.signUntil && !hadSuccessor) continue
      this.break(
        'realm-without-key',
        `version ${after.version} leaves ${key.realm} without a key: ${this.nameOf(kid)} is ${now}`,
      )
    }
  }

  #onSignerTrust(realm: string, version: number): void {
    this.#grow(this.#signerSeen, realm, version, `signer-${realm}`)
    this.#signerApplied.set(realm, version)
  }

  #onPrepared(realm: string, text: string): void {
    const entry = decodeEntry(decode(text))
    const kid = encode(entry.keyThumbprint)
    const key = `${kid} ${entry.serial}`
    const before = this.#prepared.get(key)
    if (before !== undefined && before !== text) {
      this.break('serial-repeated', `signer-${realm} gave ${this.nameOf(kid)} serial ${entry.serial} twice`)
    }
    this.#prepared.set(key, text)
    this.#checkSigning(realm, kid)
  }

  #onSigned(realm: string, token: string): void {
    this.#checkSigning(realm, readCompact(token).header.kid ?? '')
  }

  #checkSigning(realm: string, kid: string): void {
    const version = this.#signerApplied.get(realm) ?? 0
    const stateIn = (held: number): string => this.shown.get(held)?.keys.get(kid)?.state ?? 'unknown'
    const brought = this.#signerBrought.get(realm) ?? 0
    const state = stateIn(version)
    if (signing.has(state) || (brought > version && signing.has(stateIn(brought)))) return
    this.break('dead-key-signed', `signer-${realm} at version ${version} used ${this.nameOf(kid)}: ${state}`)
  }

  #epochs(): readonly string[] {
    const { disk } = (this.#system as System).host('witness')
    const epochs = disk.list(EPOCHS).sort((one, other) => Number(one) - Number(other))
    return epochs.map((epoch) => `${EPOCHS}/${epoch}/entries`)
  }

  #entries(): { readonly kid: string; readonly serial: number; readonly sha256: string }[] {
    const { disk } = (this.#system as System).host('witness')
    return this.#epochs().flatMap((path) => {
      const bytes = disk.file(path)?.read() ?? Buffer.alloc(0)
      return Array.from({ length: Math.floor(bytes.length / RECORD_BYTES) }, (_, at) => {
        const record = bytes.subarray(at * RECORD_BYTES + 2, (at + 1) * RECORD_BYTES)
        const { keyThumbprint, serial, tokenType, payloadSha256 } = decodeEntry(record)
        const kid = tokenType === 'manifest' ? MANIFESTS : encode(keyThumbprint)
        return { kid, serial, sha256: encode(payloadSha256) }
      })
    })
  }

  #isLoggedAt(path: string, index: number, entry: Uint8Array): boolean {
    const file = (this.#system as System).host('witness').disk.file(path)
    const record = file?.readDurable(index * RECORD_BYTES, RECORD_BYTES)
    return record !== undefined && Buffer.compare(record.subarray(2), entry) === 0
  }
}

/** How far the clocks of two machines may be apart. */
const CLOCK_SKEW_SECONDS = 60
const MANIFESTS = 'manifests'
const EPOCHS = '/sim/witness/data/epochs'
/** By then a key that stood ready has taken over: silent validators were waited for, and the upkeep came round. */
const SUCCESSOR_SECONDS = 40

function shownKey(key: Readonly<Record<string, unknown>>): ShownKey {
  return {
    realm: key['realm'] as string,
    issuer: key['iss'] as string,
    state: key['state'] as string,
    notBefore: key['nbf'] as number,
    signUntil: key['sign_until'] as number,
    blockedAt: (key['blocked'] as { readonly at: number } | undefined)?.at,
  }
}

function versionOf(document: unknown): number {
  return readPayload((document as { readonly payload: string }).payload)['version'] as number
}

/** What a service that goes on says of a mistake in its code. */
const bugMessage = /is not defined|is not a function|is not iterable|Cannot read properties/

/** What only a mistake in the code throws. */
export function isBug(error: unknown): boolean {
  return (
    (error instanceof TypeError && error.message !== 'fetch failed' && error.message !== 'terminated') ||
    error instanceof RangeError ||
    error instanceof ReferenceError
  )
}
