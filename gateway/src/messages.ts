/**
 * What the primary of a gateway and its workers ask each other, over a channel (channel.ts). A worker is told everything that it
 * needs: it reads no file but by what it was told, so that one that is made later is like the others.
 * @module
 */

import type { TrustAnchor } from '@countersign/validator/charter'
import type { JsonObject } from '@countersign/validator/json'
import type { ShownProof } from '@countersign/validator/replay'
import type { TrustDocuments } from '@countersign/validator/trust'
import type { Settings } from './settings.ts'

/** To a worker. */
export type Order =
  /** The first. Answered with the version that it decides by, 0 without any. */
  | {
      readonly kind: 'begin'
      readonly worker: number
      readonly settings: Settings
      readonly trustAnchor: TrustAnchor
      /** A private JWK: it signs reports and answers. */
      readonly enrolmentKey: JsonObject
      readonly documents?: TrustDocuments | undefined
      readonly freshness?: string | undefined
    }
  /** From now on it answers whoever asks. Answered with `Places`. */
  | { readonly kind: 'listen' }
  /** What is newer than what it was told before: answered, as `begin`, once nothing is decided by anything older. */
  | { readonly kind: 'state'; readonly documents: TrustDocuments }
  | { readonly kind: 'freshness'; readonly statement: string }
  | { readonly kind: 'roots'; readonly statement: string }
  /** Whether it could take these. Rejects with what is wrong. */
  | { readonly kind: 'prepare'; readonly settings: Settings }
  | { readonly kind: 'take'; readonly settings: Settings }
  /** Answered with `Snapshot`. */
  | { readonly kind: 'count' }
  /** Answered by whoever turns its event loop. */
  | { readonly kind: 'ping' }
  | { readonly kind: 'stop' }

/** To the primary. */
export type Request =
  /** Answered with a list of booleans: which of them nobody has shown before, at any worker. */
  | { readonly kind: 'proofs'; readonly proofs: readonly ShownProof[] }
  /** Answered with a boolean: whether the sessions end with this token. */
  | { readonly kind: 'watch'; readonly clientId: string; readonly token: string }
  /** Answered with the numbers of all, as text. */
  | { readonly kind: 'numbers' }
