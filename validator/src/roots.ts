/**
 * Roots that the witness tells of before the tokens come: with one signature over many subtrees, a validator then has no
 * receipt's signature left to verify. What was never heard of is decided by the receipt's own signature, as ever. Rules:
 * spec/roots.md.
 *
 *     varint size; varint distance; opaque root[32];      … of each subtree that a statement names
 *
 * @module
 */

import type { KeyObject } from 'node:crypto'
import { encodeUtf8, latin1 } from '#platform'
import { decode, encode } from './base64url.ts'
import { concat } from './bytes.ts'
import { DocumentRefusal, importOnce, refuseAs } from './document.ts'
import type { PublicJwk } from './jws.ts'
import type { ManifestLog, TrustState } from './manifest.ts'
import { Members } from './members.ts'
import { pushVarint, type RootSource, readVarint, type SignedRoot, SUBTREE_SIZE_MAX } from './receipt.ts'
import { readStatement, signStatement, verifyStatement } from './statement.ts'
import { HASH_BYTES, isSubtree } from './tree.ts'

const TYPE = 'countersign-roots+jwt'

/** A statement names no more subtrees. */
export const SUBTREE_COUNT_MAX = 1024
/** No statement is longer; one with so many subtrees has half as much. */
export const ROOTS_CHARACTERS_MAX = 128 * 1024
/** Below this, size and place of a subtree go into one number. */
const END_MAX = 2 ** 48

/** A subtree that was countersigned: the leaves [start, start + size) and their hash. */
export interface CountersignedSubtree {
  readonly start: number
  readonly size: number
  readonly root: Uint8Array
}

/** A witness's word about some of a log's subtrees. */
interface RootStatement {
  readonly origin: string
  readonly subtrees: readonly CountersignedSubtree[]
}

/** Signs, as the witness, that it countersigned these; they are in the order of their ends. */
export function signRoots(
  origin: string,
  subtrees: readonly CountersignedSubtree[],
  issuedAt: number,
  receiptKey: KeyObject,
): string {
  const parts: Uint8Array[] = []
  let before = 0
  for (const { start, size, root } of subtrees) {
    const head: number[] = []
    pushVarint(head, size)
    pushVarint(head, start + size - before)
    parts.push(Uint8Array.from(head), root)
    before = start + size
  }
  return signStatement(TYPE, { origin, iat: issuedAt, roots: encode(concat(...parts)) }, receiptKey)
}

/** Throws `DocumentRefusal` unless whoever holds the receipt key signed the statement. */
export function verifyRoots(statement: string, receiptKey: PublicJwk): RootStatement {
  const members = new Members(verifyStatement(statement, TYPE, [receiptKey]), TYPE)
  const origin = members.text('origin')
  members.time('iat')
  const bytes = refuseAs(members.at('roots'), () => decode(members.text('roots', /^[\w-]+$/)))
  members.end()
  return { origin, subtrees: refuseAs(members.at('roots'), () => readSubtrees(bytes)) }
}

function readSubtrees(bytes: Uint8Array): readonly CountersignedSubtree[] {
  const subtrees: CountersignedSubtree[] = []
  const cursor = { at: 0 }
  let end = 0
  while (cursor.at < bytes.length) {
    const size = readVarint(bytes, cursor)
    const distance = readVarint(bytes, cursor)
    const root = bytes.subarray(cursor.at, cursor.at + HASH_BYTES)
    end += distance
    const start = end - size
    cursor.at += HASH_BYTES
    if (distance < 1 || end >= END_MAX || size > SUBTREE_SIZE_MAX || !isSubtree({ start, end }))
      throw malformed()
    if (root.length < HASH_BYTES || subtrees.length >= SUBTREE_COUNT_MAX) throw malformed()
    subtrees.push({ start, size, root })
  }
  return subtrees
}

function malformed(): DocumentRefusal {
  return new DocumentRefusal('malformed', 'the roots are not as a witness writes them')
}

/**
 * A witness signed two roots for one range of its log. What it signed is at hand twice, so that the two together prove it to
 * anybody who has its key.
 */
export class SplitRoots extends Error {
  readonly origin: string
  readonly start: number
  readonly size: number
  /** A statement, or a receipt with the root that its path leads to. */
  readonly proofs: readonly [string, string | SignedRoot]
  constructor(
    origin: string,
    { start, size }: Omit<CountersignedSubtree, 'root'>,
    proofs: SplitRoots['proofs'],
  ) {
    super(`the witness signed two different roots for [${start}, ${start + size}) of ${origin}`)
    this.name = 'SplitRoots'
    this.origin = origin
    this.start = start
    this.size = size
    this.proofs = proofs
  }
}

/** A log under one key: what is known of it counts for no other. */
interface KnownLog {
  readonly origin: string
  readonly receiptKey: PublicJwk
}

/** A generation is full with so many subtrees, or with statements of so many characters. */
const SUBTREES_MAX = 100_000
const CHARACTERS_MAX = 8 * 1024 * 1024
/** So many refusals in a row are looked at, and one more each second. */
const PATIENCE_MAX = 16

export interface PushedRootsOptions {
  /** A receipt shows that the witness signed two roots; what `take` finds, it throws. */
  readonly onSplit?: ((proof: SplitRoots) => void) | undefined
  /** Milliseconds on a clock that never jumps. */
  readonly monotonic?: (() => number) | undefined
}

/** What a validator was told. Bounded: two generations, of which the older is dropped when the newer is full. */
export class PushedRoots implements RootSource {
  readonly #onSplit: (proof: SplitRoots) => void
  readonly #milliseconds: () => number
  /** By the object that the manifest in force has for a log, and by its name. */
  #logs: ReadonlyMap<ManifestLog, KnownLog> = new Map()
  #named: ReadonlyMap<string, KnownLog> = new Map()
  /** The newer one first. */
  #generations: readonly Generation[] = [new Generation()]
  #patience = PATIENCE_MAX
  #refusedAt = 0

  constructor({ onSplit = () => {}, monotonic = () => performance.now() }: PushedRootsOptions = {}) {
    this.#onSplit = onSplit
    this.#milliseconds = monotonic
  }

  /** From here on this state says which logs there are. What is known of one that stays as it is stays known. */
  follow({ charter, manifest }: TrustState): void {
    const logs = new Map<ManifestLog, KnownLog>()
    for (const log of manifest.logs.values()) {
      const { origin } = log
      const receiptKey = charter.witnesses.find(({ name }) => name === log.witness)?.receiptKey
      if (receiptKey === undefined) continue
      const held = this.#named.get(origin)
      const isSame = held !== undefined && importOnce(held.receiptKey).kid === importOnce(receiptKey).kid
      logs.set(log, isSame ? held : { origin, receiptKey })
    }
    this.#logs = logs
    this.#named = new Map([...logs.values()].map((known) => [known.origin, known]))
  }

  has(log: ManifestLog, start: number, size: number, root: Uint8Array): boolean {
    const known = this.#logs.get(log)
    if (known === undefined) return false
    const range = rangeOf(start, size)
    for (const generation of this.#generations) {
      const place = generation.placeOf(known, range)
      if (place !== undefined) return generation.isRoot(place, root)
    }
    return false
  }

  /**
   * Takes a statement. Says whether it was looked at, which it is not right after many that were refused. Throws
   * `DocumentRefusal` or `SplitRoots`, and then nothing of it counts.
   */
  take(statement: string): boolean {
    const now = this.#milliseconds()
    const patience = Math.min(PATIENCE_MAX, this.#patience + (now - this.#refusedAt) / 1000)
    if (patience < 1) return false
    try {
      this.#add(statement)
      return true
    } catch (error) {
      this.#patience = patience - 1
      this.#refusedAt = now
      throw error
    }
  }

  compare(log: ManifestLog, start: number, size: number, signed: SignedRoot): void {
    const known = this.#logs.get(log)
    if (known === undefined) return
    try {
      this.#isNew(known, { start, size, root: signed.root }, signed)
    } catch (error) {
      this.#onSplit(error as SplitRoots)
    }
  }

  #add(statement: string): void {
    if (statement.length > ROOTS_CHARACTERS_MAX) throw malformed()
    // Whose signature to ask for, it says itself: an origin has one key.
    const { origin } = readStatement(statement, TYPE)
    const known = typeof origin === 'string' ? this.#named.get(origin) : undefined
    if (known === undefined) {
      throw new DocumentRefusal('out_of_charter', 'the roots are of a log that the manifest does not name')
    }
    const { subtrees } = verifyRoots(statement, known.receiptKey)
    const news = subtrees.filter((subtree) => this.#isNew(known, subtree, statement))
    if (news.length === 0) return
    const [newer] = this.#generations as readonly [Generation]
    const open = newer.hasRoom(news.length, statement) ? newer : new Generation()
    if (open !== newer) this.#generations = [open, newer]
    open.add(known, news, statement)
  }

  /** Throws `SplitRoots` where another root is known. */
  #isNew(known: KnownLog, subtree: CountersignedSubtree, proof: string | SignedRoot): boolean {
    const range = rangeOf(subtree.start, subtree.size)
    for (const generation of this.#generations) {
      const place = generation.placeOf(known, range)
      if (place === undefined) continue
      if (generation.isRoot(place, subtree.root)) return false
      throw new SplitRoots(known.origin, subtree, [generation.statementAt(place), proof])
    }
    return true
  }
}

/** Roots one after the other, as compact as can be: there may be very many. */
class Generation {
  readonly #roots = new Uint8Array(SUBTREES_MAX * HASH_BYTES)
  readonly #statements: string[] = []
  /** By place. */
  readonly #statementOf = new Uint32Array(SUBTREES_MAX)
  /** By log and range. */
  readonly #places = new Map<KnownLog, Map<number, number>>()
  #count = 0
  #characters = 0

  placeOf(log: KnownLog, range: number): number | undefined {
    return this.#places.get(log)?.get(range)
  }

  isRoot(place: number, root: Uint8Array): boolean {
    const from = place * HASH_BYTES
    for (let at = 0; at < HASH_BYTES; at++) if (this.#roots[from + at] !== root[at]) return false
    return true
  }

  statementAt(place: number): string {
    return this.#statements[this.#statementOf[place] as number] as string
  }

  hasRoom(subtreeCount: number, { length }: string): boolean {
    return this.#count + subtreeCount <= SUBTREES_MAX && this.#characters + length <= CHARACTERS_MAX
  }

  add(log: KnownLog, subtrees: readonly CountersignedSubtree[], statement: string): void {
    const places = this.#places.get(log) ?? new Map<number, number>()
    this.#places.set(log, places)
    // A copy: a text that was cut out of a stream keeps all that came with it.
    const index = this.#statements.push(latin1(encodeUtf8(statement))) - 1
    this.#characters += statement.length
    for (const { start, size, root } of subtrees) {
      const place = this.#count++
      this.#roots.set(root, place * HASH_BYTES)
      this.#statementOf[place] = index
      places.set(rangeOf(start, size), place)
    }
  }
}

/** Distinct for every subtree that ends below `END_MAX`. */
function rangeOf(start: number, size: number): number {
  return start * SUBTREE_SIZE_MAX + size - 1
}
