/**
 * Every vector of spec/vectors that a validator's core can run, run as a runtime has to that verifies later: what came of each is
 * put beside what the file says. And a validator that tells all that it decides and reports. For tests, which bundle it for
 * runtimes that are not Node.
 * @module
 */

import { verifyApproval } from './approval.ts'
import { decode, encode } from './base64url.ts'
import { type Charter, parseTrustAnchor, type TrustAnchor, verifyCharter } from './charter.ts'
import { openCheckpoint, verifierOf } from './checkpoint.ts'
import type { Confirmation } from './confirmation.ts'
import { DocumentRefusal } from './document.ts'
import { createEdgeValidator } from './edge.ts'
import { decodeEntry, encodeEntry, entryOf, type TokenType } from './entry.ts'
import { importPublicJwk, type PublicJwk } from './jws.ts'
import { type TrustState, verifyManifest } from './manifest.ts'
import { NoteRefusal } from './note.ts'
import { decodeReceipt, receiptKeyId, verifyReceipt } from './receipt.ts'
import { Refusal } from './refusal.ts'
import { settle } from './settle.ts'
import type { Sighting } from './sighting.ts'
import { isSubtree, leafHash, proveEach, verifyInclusion, verifySubtreeConsistency } from './tree.ts'

/** A vector by its file and name, and what is said of it and what came of it: both `good`, or why it is refused. */
export type Outcome = readonly [name: string, said: string, came: string]

/** The vectors of one file, as text. */
export async function runVectors(file: keyof typeof runners, text: string): Promise<readonly Outcome[]> {
  const outcomes: Outcome[] = []
  const say = async (name: string, said: string, work: () => unknown): Promise<void> => {
    outcomes.push([`${file}: ${name}`, said, await wordFor(work)])
  }
  await runners[file](JSON.parse(text), say)
  return outcomes
}

type Say = (name: string, said: string, work: () => unknown) => Promise<void>
type Case = { readonly name: string } & { readonly [member: string]: unknown }

async function wordFor(work: () => unknown): Promise<string> {
  try {
    const result = await settle(work)
    return typeof result === 'string' ? result : 'good'
  } catch (error) {
    if (error instanceof Refusal) return error.reason
    if (error instanceof DocumentRefusal) return error.flaw
    if (error instanceof NoteRefusal) return error.code
    throw error
  }
}

/** What `work` gives has to be true. */
const holds = (isTrue: boolean): string => (isTrue ? 'good' : 'it does not hold')
const leafAt = (index: number): Uint8Array => leafHash(new TextEncoder().encode(`leaf ${index}`))

// biome-ignore lint/suspicious/noExplicitAny: the files are as they are
type File = any

export const runners = {
  verdict: async ({ charter, trust_anchor, manifest, vectors }, say) => {
    const state = await stateOf({ trust_anchor, charters: [charter], manifest })
    for (const [at, { token, question, expected }] of vectors.entries()) {
      const { realm, audience, now, manifest_age_seconds, confirmation } = question
      const trust = { state, ageSeconds: () => manifest_age_seconds }
      const validator = createEdgeValidator({ realm, audience, trust, now: () => now })
      const decision = await validator.decide(token, { confirmation })
      const came = decision.accepted ? 'good' : decision.refusal.reason
      await say(`${at} ${expected}`, expected === 'accepted' ? 'good' : expected, () => came)
    }
  },
  charter: async ({ trust_anchor, cases }, say) => {
    for (const { name, charters, flaw } of cases) {
      const walk = (): unknown =>
        charters.reduce(
          (before: Charter | TrustAnchor, next: unknown) => verifyCharter(next, before),
          parseTrustAnchor(trust_anchor),
        )
      await say(name, flaw ?? 'good', walk)
    }
  },
  manifest: async ({ charter, trust_anchor, cases }, say) => {
    const pinned = await settle(() => verifyCharter(charter, trust_anchor))
    for (const { name, manifest, flaw } of cases)
      await say(name, flaw ?? 'good', () => verifyManifest(manifest, pinned))
  },
  approval: async ({ charter, trust_anchor, cases }, say) => {
    const pinned = await settle(() => verifyCharter(charter, trust_anchor))
    for (const { name, approval, flaw } of cases)
      await say(name, flaw ?? 'good', () => verifyApproval(approval, pinned))
  },
  checkpoint: async ({ origin, now, vkeys, cases, refused, refused_vkeys }, say) => {
    const verifiers = vkeys.map(verifierOf)
    for (const { name, note, size } of cases)
      await say(name, 'good', () => holds(openCheckpoint(note, origin, verifiers, now).size === size))
    for (const { name, note, code } of refused)
      await say(name, code, () => openCheckpoint(note, origin, verifiers, now))
    for (const { name, vkey } of refused_vkeys) await say(name, 'malformed', () => verifierOf(vkey))
  },
  entry: async ({ cases, refused }, say) => {
    for (const { name, parts, entry, leaf_hash } of cases) {
      const made = (): Uint8Array =>
        encodeEntry(
          entryOf({
            tokenType: parts.token_type as TokenType,
            kid: parts.kid,
            issuedAt: parts.issued_at,
            expiresAt: parts.expires_at,
            serial: parts.serial,
            payloadSegment: parts.payload_segment,
          }),
        )
      await say(name, 'good', () => holds(encode(made()) === entry && encode(leafHash(made())) === leaf_hash))
    }
    for (const { name, entry } of refused) await say(name, 'malformed', () => decodeEntry(decode(entry)))
  },
  receipt: async ({ log: { witness, origin, receipt_key, key_id }, cases, refused }, say) => {
    const receiptKey = importPublicJwk(receipt_key as PublicJwk).key
    const log = {
      witness,
      origin,
      receiptKey,
      receiptKeyId: receiptKeyId(origin, receiptKey),
      state: 'open',
    } as const
    await say('the key id', 'good', () => holds(log.receiptKeyId === Number.parseInt(key_id, 16)))
    const verify = ({ receipt, leaf }: Case): void =>
      verifyReceipt(decodeReceipt(decode(receipt as string)), leafAt(leaf as number), log)
    for (const each of cases) await say(each.name, 'good', () => verify(each))
    for (const each of refused) await say(each.name, 'receipt_invalid', () => verify(each))
  },
  tree: async ({ roots, inclusion, consistency, subtrees }, say) => {
    const leaves = Array.from({ length: 600 }, (_, index) => leafAt(index))
    const rootOf = (start: number, end: number): Uint8Array => proveEach(leaves.slice(start, end)).root
    for (const { size, root } of roots)
      await say(`root of ${size}`, 'good', () => holds(encode(rootOf(0, size)) === root))
    for (const { index, start, end, path } of inclusion) {
      const work = (): string =>
        holds(
          verifyInclusion(leafAt(index), index - start, end - start, path.map(decode), rootOf(start, end)),
        )
      await say(`inclusion of ${index}`, 'good', work)
    }
    for (const { start, end, size, proof } of consistency) {
      const range = { start, end }
      const work = (): string =>
        holds(verifySubtreeConsistency(range, rootOf(start, end), size, rootOf(0, size), proof.map(decode)))
      await say(`consistency of ${start} to ${end}`, 'good', work)
    }
    for (const { start, end, valid } of subtrees)
      await say(`subtree ${start} to ${end}`, 'good', () => holds(isSubtree({ start, end }) === valid))
  },
} as const satisfies Readonly<Record<string, (file: File, say: Say) => Promise<void>>>

/** Documents as they go over the wire. */
export interface Documents {
  readonly trust_anchor: TrustAnchor
  readonly charters: readonly unknown[]
  readonly manifest: unknown
}

async function stateOf({ trust_anchor, charters, manifest }: Documents): Promise<TrustState> {
  let charter: Charter | undefined
  for (const document of charters) {
    const under = charter ?? parseTrustAnchor(trust_anchor)
    charter = await settle(() => verifyCharter(document, under))
  }
  const pinned = charter as Charter
  return { charter: pinned, manifest: await settle(() => verifyManifest(manifest, pinned)) }
}

/** What is asked about each token, as text: see `decideEach`. */
export interface Asked {
  readonly documents: Documents
  readonly realm: string
  readonly audience: string
  readonly now: number
  readonly tokens: readonly (readonly [token: string, confirmation?: Confirmation])[]
}

/** Decides about tokens one after the other; gives each verdict and every sighting, as JSON. */
export async function decideEach(asked: string): Promise<string> {
  const { documents, realm, audience, now, tokens } = JSON.parse(asked) as Asked
  const state = await stateOf(documents)
  const sightings: Sighting[] = []
  const validator = createEdgeValidator({
    realm,
    audience,
    trust: { state, ageSeconds: () => 0 },
    now: () => now,
    onSighting: (sighting) => sightings.push(sighting),
  })
  const verdicts: string[] = []
  for (const [token, confirmation] of tokens) {
    const decision = await validator.decide(token, { confirmation, userAgent: 'test é' })
    verdicts.push(decision.accepted ? JSON.stringify(decision.token.claims) : decision.refusal.reason)
  }
  return JSON.stringify({ verdicts, sightings })
}
