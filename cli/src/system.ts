/**
 * How a command finds the system that it talks to: by the ready file of `countersign up`, or by the manifest's URL.
 * @module
 */

import type { TrustAnchor } from '@countersign/validator/charter'
import { type Follower, followManifest } from '@countersign/validator/follow'
import { readJson } from './files.ts'
import type { System } from './up.ts'

/** A system that cannot give its manifest by then leaves the command without an answer. */
const MANIFEST_MILLISECONDS_MAX = 10_000

export function readSystem(file: string | undefined): System {
  if (file === undefined) throw new Error('which system? --ready FILE')
  return readJson<System>(file)
}

export interface Whereabouts {
  readonly ready?: string | undefined
  readonly manifest?: string | undefined
  readonly 'trust-anchor'?: string | undefined
}

/**
 * The authority's URL and the operators that it is believed under. Without a file of its own the anchor is the one
 * that the authority names itself, and a warning says so: that shows tampering on the way, not by the authority.
 */
export async function locate(where: Whereabouts): Promise<{ authority: string; trustAnchor: TrustAnchor }> {
  const { ready, manifest, 'trust-anchor': anchorFile } = where
  if ((ready === undefined) === (manifest === undefined))
    throw new Error('--ready FILE or --manifest URL, one of them')
  if (ready !== undefined) {
    const { url, trust_anchor } = readSystem(ready).authority
    return { authority: url, trustAnchor: readJson(anchorFile ?? trust_anchor) }
  }
  const authority = new URL('.', manifest).href
  if (anchorFile !== undefined) return { authority, trustAnchor: readJson(anchorFile) }
  process.stderr.write('the trust anchor comes from the authority itself; pin it with --trust-anchor FILE\n')
  const response = await fetch(new URL('trust-anchor', authority), { redirect: 'error' })
  if (!response.ok)
    throw new Error(`the authority answered ${response.status} when asked for its trust anchor`)
  return { authority, trustAnchor: (await response.json()) as TrustAnchor }
}

/** Runs `task` with the newest verified manifest at hand. */
export async function withManifest<Result>(
  options: { readonly authority: string; readonly trustAnchor: TrustAnchor },
  task: (follower: Follower) => Promise<Result> | Result,
): Promise<Result> {
  const follower = followManifest(options)
  const late = AbortSignal.timeout(MANIFEST_MILLISECONDS_MAX)
  try {
    await Promise.race([
      follower.ready(),
      new Promise((_, reject) => {
        late.onabort = () =>
          reject(new Error(`no manifest from ${options.authority} that the trust anchor vouches for`))
      }),
    ])
    return await task(follower)
  } finally {
    await follower.stop()
  }
}
