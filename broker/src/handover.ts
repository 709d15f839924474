/**
 * Gives validators a moment to learn of a new active key before anything is signed with it: a manifest that does no more
 * than hand over is brought to the signers a second after it came. Until then they sign with the key before, which every
 * validator still takes, whichever of the two manifests it has. Whatever narrows trust is brought at once.
 * @module
 */

import type { Manifest, ManifestKey } from '@countersign/validator/manifest'

/** Validators that listen have acknowledged a manifest by then. */
const HANDOVER_MILLISECONDS = 1000

export interface Handover {
  /** Hears of each manifest that came. */
  take(manifest: Manifest): void
  stop(): void
}

/** `bring` brings the signers what is newest when it is called. */
export function createHandover(bring: () => void, milliseconds = HANDOVER_MILLISECONDS): Handover {
  /** What the signers have. */
  let brought: Manifest | undefined
  let newest: Manifest | undefined
  let timer: NodeJS.Timeout | undefined

  function bringNewest(): void {
    clearTimeout(timer)
    timer = undefined
    brought = newest
    bring()
  }

  return {
    take: (manifest) => {
      newest = manifest
      if (mayWait(brought, manifest)) timer ??= setTimeout(bringNewest, milliseconds)
      else bringNewest()
    },
    stop: () => clearTimeout(timer),
  }
}

/**
 * Whether signers may go by `before` for a moment longer: each key that is newly active has one before it that retires,
 * and nothing else has been taken from the keys that sign, nor has anything been killed or cut off.
 */
export function mayWait(before: Manifest | undefined, after: Manifest): boolean {
  if (before?.charterVersion !== after.charterVersion) return false
  if (JSON.stringify(before.cutoffs) !== JSON.stringify(after.cutoffs)) return false
  if ([...before.keys.values()].some((key) => !isKilled(key) && isKilled(after.keys.get(key.kid))))
    return false
  const signing = [...before.keys.values()].filter(({ state }) => state === 'active')
  const followers = [...after.keys.values()].filter((key) => isNewlyActive(key, before))
  const retiring = signing.filter(({ kid }) => after.keys.get(kid)?.state === 'retiring')
  return (
    followers.length > 0 &&
    signing.every(({ kid }) => ['active', 'retiring'].includes(after.keys.get(kid)?.state ?? '')) &&
    followers.every((key) => retiring.some((predecessor) => isSuccessor(key, predecessor)))
  )
}

/** What is left out counts as killed. */
function isKilled(key: ManifestKey | undefined): boolean {
  return key === undefined || key.state === 'blocked' || key.state === 'revoked'
}

function isNewlyActive({ kid, state }: ManifestKey, before: Manifest): boolean {
  return state === 'active' && before.keys.get(kid)?.state !== 'active'
}

function isSuccessor(key: ManifestKey, predecessor: ManifestKey): boolean {
  return (
    key.realm === predecessor.realm &&
    key.issuer === predecessor.issuer &&
    key.algorithm === predecessor.algorithm &&
    key.tokenTypes.every((type) => predecessor.tokenTypes.includes(type))
  )
}
