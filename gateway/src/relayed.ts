/**
 * Trust in a worker: documents come from its primary, and count for what they are. Each is verified down to the trust anchor
 * as if an authority had sent it, freshness grows old by this process's own clocks, and a worker that hears nothing any more fails
 * closed like a validator without its authority.
 * @module
 */

import { parseTrustAnchor, type TrustAnchor } from '@countersign/validator/charter'
import type { Connection } from '@countersign/validator/connected'
import type { TrustState } from '@countersign/validator/manifest'
import { PushedRoots } from '@countersign/validator/roots'
import { systemClocks, Trust, type TrustDocuments } from '@countersign/validator/trust'

export interface RelayedOptions {
  readonly trustAnchor: TrustAnchor
  /** Whether roots are handed on. */
  readonly pushedRoots: boolean
  readonly onProblem: (problem: Error) => void
}

export type Relayed = Connection['trust'] & {
  /** Charters that are new, and the manifest. Gives the version that is decided by then. Throws what is wrong with them. */
  take(documents: TrustDocuments): number
  /** A statement that what is held is the newest. */
  renew(freshness: string): void
  /** A statement about roots. */
  takeRoots(statement: string): void
}

export function createRelayed({ trustAnchor, pushedRoots, onProblem }: RelayedOptions): Relayed {
  const trust = new Trust(parseTrustAnchor(trustAnchor), systemClocks)
  const roots = pushedRoots
    ? new PushedRoots({ onSplit: onProblem, monotonic: systemClocks.monotonic })
    : undefined
  const listeners = new Set<() => void>()
  const waiting = new Set<() => void>()
  let isStopped = false

  function wake(): void {
    if (trust.ageSeconds() === Number.POSITIVE_INFINITY && !isStopped) return
    for (const settle of waiting) settle()
    waiting.clear()
  }

  function attempt(act: () => unknown): void {
    try {
      act()
    } catch (error) {
      onProblem(error as Error)
    }
  }

  return {
    get state() {
      return trust.state
    },
    roots,
    ageSeconds: () => trust.ageSeconds(),
    onNews: (listener) => {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    take: ({ charters, manifest }) => {
      if (trust.accept(manifest, charters) === 'newer') {
        roots?.follow(trust.state as TrustState)
        for (const listener of listeners) listener()
        wake()
      }
      return trust.state?.manifest.version ?? 0
    },
    renew: (freshness) => attempt(() => trust.refresh(freshness) === 'renewed' && wake()),
    takeRoots: (statement) => attempt(() => roots?.take(statement)),
    ready: () =>
      new Promise((resolve) => {
        waiting.add(resolve)
        wake()
      }),
    stop: async () => {
      isStopped = true
      wake()
    },
  }
}
