/**
 * A realm's keys inside a hardware token. What is public stands beside it, in the signer's folder:
 *
 *     token.json  {"realm", "serial", "label", "identity": {"id", "jwk"}, "keys": [{"id", "jwk", "attestation"}, …], "doomed": [id, …]}
 *
 * In the folder and not as data objects on the token, because many tokens hold none, and because the folder has to be kept
 * anyway: the counters of the keys are in it. A key's id is written down as doomed before it is made and before it is
 * destroyed, so that a crash in between leaves nothing on the token that nobody knows of, and nothing is ever destroyed
 * that this file does not name.
 * @module
 */

import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { verifyAttestation } from '@countersign/validator/attestation'
import { type Algorithm, importPublicJwk, type PublicJwk } from '@countersign/validator/jws'
import type { Cryptoki, Handle } from './cryptoki.ts'
import { SignerFault, TokenFault } from './fault.ts'
import { replaceFile, writeNewFile } from './files.ts'
import { type HeldKey, type Keystore, type Sign, type UsableKey, usable, type Vouching } from './keystore.ts'
import { faultOf, isGone, type Pin, Token } from './token.ts'
import { destroyOn, findPrivateKey, generateOn, idsOn, type KeyMark, offers, signOn } from './token-keys.ts'
import type { TokenAddress } from './token-uri.ts'

export interface TokenPlace {
  readonly realm: string
  /** The signer's. */
  readonly folder: string
  readonly address: TokenAddress
  readonly pin: Pin
  readonly cryptoki: Cryptoki
  /** Milliseconds on a clock that never jumps. */
  readonly monotonic: () => number
}

/** A token that has gone is looked for no more often. */
const REOPEN_MILLISECONDS_MIN = 1000
const ID_BYTES = 16

interface StoredKey {
  /** Hex: `CKA_ID` of both halves. */
  readonly id: string
  readonly jwk: PublicJwk
}

interface TokenRecord {
  readonly realm: string
  /** Of the token: another one under the same name holds other keys. */
  readonly serial: string
  readonly label: string
  readonly identity: StoredKey
  readonly keys: readonly (StoredKey & { readonly attestation: string })[]
  readonly doomed: readonly string[]
}

const recordFile = (folder: string): string => join(folder, 'token.json')

/** Makes a keystore with an identity key and no other. Throws `SignerFault` where the folder has one already. */
export async function createTokenKeystore(place: TokenPlace): Promise<Keystore> {
  const { realm, folder, address, pin, cryptoki } = place
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const token = new Token(cryptoki, address, pin)
  try {
    const id = randomBytes(ID_BYTES)
    // Short: some tokens keep no more than 40 characters.
    const label = `${address.object ?? `countersign-${realm}`} ${id.toString('hex').slice(0, 8)}`
    const identity = { id: id.toString('hex'), jwk: {} as PublicJwk }
    const record = { realm, serial: token.serial, label, identity, keys: [], doomed: [identity.id] }
    claim(recordFile(folder), record, token)
    try {
      const { jwk } = generateOn(token, offers(token, 'EdDSA') ? 'EdDSA' : 'ES256', { id, label })
      replaceFile(
        recordFile(folder),
        JSON.stringify({ ...record, identity: { ...identity, jwk }, doomed: [] }),
      )
    } catch (error) {
      // What cannot be destroyed now is, when init is run again.
      try {
        destroyOn(token, { id, label })
        rmSync(recordFile(folder), { force: true })
      } catch {}
      throw faultOf(error)
    }
  } finally {
    await token.close()
  }
  return openTokenKeystore(place)
}

/** Opens a keystore and checks that its keys are what they are said to be. Throws `SignerFault`. */
export async function openTokenKeystore(place: TokenPlace): Promise<Keystore> {
  const record = readRecord(place)
  const keystore = new TokenKeystore(place, record)
  await keystore.reopen()
  return keystore
}

class TokenKeystore implements Keystore {
  readonly protection = 'hardware'
  readonly identity: UsableKey
  readonly #place: TokenPlace
  readonly #handles = new Map<string, Handle>()
  #record: TokenRecord
  #held: readonly HeldKey[]
  #token: Token | undefined
  #closing: Promise<void> = Promise.resolve()
  #problem: TokenFault | undefined
  #opening: Promise<void> | undefined
  #failedAt = Number.NEGATIVE_INFINITY
  #wasOpen = false

  constructor(place: TokenPlace, record: TokenRecord) {
    this.#place = place
    this.#record = record
    this.identity = this.#usable(record.identity)
    this.#held = record.keys.map((key) => this.#hold(key))
  }

  get keys(): readonly HeldKey[] {
    return this.#held
  }

  get problem(): TokenFault | undefined {
    if (this.#token !== undefined) return undefined
    void this.reopen().catch(() => {})
    return this.#problem ?? new TokenFault('token_removed', 'the token is being looked for')
  }

  async make(algorithm: Algorithm, vouch: (key: UsableKey) => Promise<Vouching>): Promise<HeldKey> {
    const token = await this.#here()
    const id = randomBytes(ID_BYTES).toString('hex')
    this.#write({ ...this.#record, doomed: [...this.#record.doomed, id] })
    try {
      const mark = this.#mark(id)
      const { jwk } = generateOn(token, algorithm, mark)
      this.#handles.set(id, findPrivateKey(token, mark))
      const key = this.#usable({ id, jwk })
      const { attested, attestation } = await vouch(key)
      const { keys, doomed } = this.#record
      this.#write({
        ...this.#record,
        keys: [...keys, { id, jwk, attestation }],
        doomed: doomed.filter((other) => other !== id),
      })
      const held = { ...key, attested, attestation }
      this.#held = [...this.#held, held]
      return held
    } catch (error) {
      this.#lose(token, error)
      this.#sweep()
      throw faultOf(error)
    }
  }

  async destroy(kids: ReadonlySet<string>): Promise<void> {
    const ended = this.#record.keys.filter(({ jwk }) => kids.has(importPublicJwk(jwk).kid))
    if (ended.length === 0) return
    const ids = ended.map(({ id }) => id)
    this.#write({
      ...this.#record,
      keys: this.#record.keys.filter((key) => !ended.includes(key)),
      doomed: [...this.#record.doomed, ...ids],
    })
    for (const id of ids) this.#handles.delete(id)
    this.#held = this.#held.filter(({ kid }) => !kids.has(kid))
    this.#sweep()
  }

  async destroyAll(): Promise<number> {
    const token = await this.#here()
    const { label, identity, keys, doomed } = this.#record
    for (const id of [...doomed, ...keys.map((key) => key.id), identity.id]) destroyOn(token, this.#mark(id))
    this.#held = []
    this.#handles.clear()
    const left = idsOn(token, label).length
    if (left === 0) rmSync(recordFile(this.#place.folder), { force: true })
    return left
  }

  async close(): Promise<void> {
    await this.#opening?.catch(() => {})
    await this.#token?.close()
    this.#token = undefined
    await this.#closing
  }

  /** Looks for the token, unless that failed a moment ago. Throws `TokenFault`. */
  async reopen(): Promise<void> {
    if (this.#token !== undefined) return
    const isTooSoon = this.#place.monotonic() - this.#failedAt < REOPEN_MILLISECONDS_MIN
    if (this.#opening === undefined && isTooSoon && this.#problem !== undefined) throw this.#problem
    this.#opening ??= this.#open().finally(() => {
      this.#opening = undefined
    })
    await this.#opening
  }

  async #here(): Promise<Token> {
    await this.reopen()
    return this.#token as Token
  }

  async #open(): Promise<void> {
    const { cryptoki, address, pin } = this.#place
    await this.#closing
    let token: Token | undefined
    try {
      token = new Token(cryptoki, address, pin)
      this.#recognize(token)
      measure(token, this.#handles.get(this.#record.identity.id) as Handle, this.identity.algorithm)
      this.#token = token
      this.#problem = undefined
      this.#wasOpen = true
      this.#sweep()
    } catch (error) {
      this.#failedAt = this.#place.monotonic()
      await token?.close()
      const fault = this.#wasOpen ? faultOnReturn(error) : faultOf(error)
      if (fault instanceof TokenFault) this.#problem = fault
      throw fault
    }
  }

  /** Finds every key by its handle, once: to look for a key costs more than to sign with it. */
  #recognize(token: Token): void {
    const { serial, label, identity, keys, doomed } = this.#record
    if (token.serial !== serial)
      throw new TokenFault(
        'token_replaced',
        `the token ${token.label} has the serial ${token.serial}, and the keys are on ${serial}: put that one back`,
      )
    this.#handles.clear()
    for (const { id } of [identity, ...keys]) this.#handles.set(id, findPrivateKey(token, this.#mark(id)))
    const known = new Set([identity.id, ...keys.map(({ id }) => id), ...doomed])
    const unknown = idsOn(token, label).filter((id) => !known.has(id.toString('hex')))
    if (unknown.length > 0)
      throw new TokenFault(
        'keystore_outdated',
        `the token holds ${unknown.length} keys of this signer that ${recordFile(this.#place.folder)} does not name: the folder is an old copy. Bring back the newest`,
      )
  }

  /** Destroys what is doomed and there. What fails is tried again when the token is opened next. */
  #sweep(): void {
    const token = this.#token
    const { doomed } = this.#record
    if (token === undefined || doomed.length === 0) return
    try {
      for (const id of doomed) destroyOn(token, this.#mark(id))
      this.#write({ ...this.#record, doomed: [] })
    } catch (error) {
      this.#lose(token, error)
    }
  }

  #sign(id: string, algorithm: Algorithm, input: string): Uint8Array | Promise<Uint8Array> {
    const token = this.#token
    if (token === undefined) return this.#signOnceBack(id, algorithm, input)
    try {
      const signature = signOn(token, this.#handleOf(id), algorithm, input)
      if (!(signature instanceof Promise)) return signature
      return signature.catch((error) => this.#afterFailure(token, error, id, algorithm, input))
    } catch (error) {
      return this.#afterFailure(token, error, id, algorithm, input)
    }
  }

  /** A session that was closed for idling costs nobody a signature: the token is opened anew, once. */
  async #afterFailure(
    token: Token,
    error: unknown,
    ...signature: [id: string, algorithm: Algorithm, input: string]
  ): Promise<Uint8Array> {
    if (!isGone(error)) throw faultOf(error)
    this.#lose(token, error)
    return this.#signOnceBack(...signature)
  }

  async #signOnceBack(id: string, algorithm: Algorithm, input: string): Promise<Uint8Array> {
    const token = await this.#here()
    try {
      return await signOn(token, this.#handleOf(id), algorithm, input)
    } catch (error) {
      this.#lose(token, error)
      if (isGone(error)) this.#failedAt = this.#place.monotonic()
      throw faultOf(error)
    }
  }

  /** Forgets a life of the token that has ended. */
  #lose(token: Token, error: unknown): void {
    if (!isGone(error) || this.#token !== token) return
    this.#token = undefined
    this.#problem = faultOf(error) as TokenFault
    this.#closing = token.close()
  }

  #handleOf(id: string): Handle {
    const handle = this.#handles.get(id)
    if (handle === undefined) throw new TokenFault('key_missing', 'the key was destroyed')
    return handle
  }

  #hold({ attestation, ...key }: TokenRecord['keys'][number]): HeldKey {
    const held = this.#usable(key)
    const attested = verifyAttestation(attestation, [this.#record.identity.jwk])
    if (
      attested.kid !== held.kid ||
      attested.algorithm !== held.algorithm ||
      attested.realm !== this.#record.realm
    )
      throw new SignerFault(
        `${recordFile(this.#place.folder)} names a key that its attestation does not describe`,
      )
    return { ...held, attested, attestation }
  }

  #usable({ id, jwk }: StoredKey): UsableKey {
    const imported = importPublicJwk(jwk)
    const sign: Sign = (input) => this.#sign(id, imported.algorithm, input)
    return usable(imported, sign)
  }

  #mark(id: string): KeyMark {
    return { id: Buffer.from(id, 'hex'), label: this.#record.label }
  }

  #write(record: TokenRecord): void {
    replaceFile(recordFile(this.#place.folder), JSON.stringify(record))
    this.#record = record
  }
}

const MEASURED_SIGNATURES = 3

/** How long a signature takes: the shortest of a few, since the first ones also warm up. */
function measure(token: Token, key: Handle, algorithm: Algorithm): void {
  const taken = Array.from({ length: MEASURED_SIGNATURES }, () => {
    const startedAt = performance.now()
    // Not a JWS: it has no dot, so that it can be taken for no attestation.
    void signOn(token, key, algorithm, 'countersign signer measures a signature')
    return performance.now() - startedAt
  })
  token.measured(Math.min(...taken))
}

/** A token that was there and is not found has been taken out: whoever waits may try again. */
function faultOnReturn(error: unknown): Error {
  const fault = faultOf(error)
  const isMissing = fault instanceof TokenFault && fault.code === 'token_missing'
  return isMissing ? new TokenFault('token_removed', `the token has gone: ${fault.message}`) : fault
}

/** Writes the first record of a folder; one of an init that was cut short makes way, with what it made. */
function claim(file: string, record: TokenRecord, token: Token): void {
  try {
    writeNewFile(file, JSON.stringify(record))
    return
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
  const before = parse(file)
  if (!wasCutShort(before)) throw new SignerFault(`${file} exists; a keystore is never overwritten`)
  destroyOn(token, { id: Buffer.from(before.identity.id, 'hex'), label: before.label })
  replaceFile(file, JSON.stringify(record))
}

function wasCutShort({ identity, doomed }: TokenRecord): boolean {
  return doomed.includes(identity.id)
}

function readRecord({ folder, realm }: TokenPlace): TokenRecord {
  const file = recordFile(folder)
  const record = parse(file)
  if (wasCutShort(record)) throw new SignerFault(`${file} was cut short while it was made: run init again`)
  if (record.realm !== realm) throw new SignerFault(`${file} is the keystore of another realm`)
  return record
}

function parse(file: string): TokenRecord {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new SignerFault(`${file} cannot be read (${code}); a first keystore is made by init alone`)
  }
  try {
    return JSON.parse(text) as TokenRecord
  } catch {
    throw new SignerFault(`${file} is damaged`)
  }
}
