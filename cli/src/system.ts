/**
 * How a command finds the system that it talks to: by the ready file of `countersign up`, or by the manifest's URL.
 * @module
 */

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TrustAnchor } from '@countersign/validator/charter'
import { type Follower, followManifest } from '@countersign/validator/follow'
import { readJson } from './files.ts'
import type { System } from './ready.ts'

/** Where `countersign up` keeps everything unless told otherwise. */
export const DATA_DEFAULT = '.countersign'

/** The ready file that every start leaves in its data folder, besides the one that was asked for. */
export const readyFileIn = (data: string): string => join(data, 'ready.json')

/** An authority that has not shown its manifest by then leaves the command without an answer. */
const MANIFEST_MILLISECONDS_MAX = 10_000
/** A stream that does not come, and then no answer either: once each is enough for somebody who waits. */
const PROBLEMS_MAX = 2

/** Without a name it is the system that runs in the default folder, if one does. */
export function readSystem(file: string | undefined): System {
  if (file !== undefined) return readReady(file)
  const running = readyFileIn(DATA_DEFAULT)
  if (!existsSync(running))
    throw new Error(`which system? None runs in ${DATA_DEFAULT}/; name it by --ready FILE`)
  return readReady(running)
}

function readReady(file: string): System {
  const system = readJson<System>(file)
  if (isSystem(system)) return system
  throw new Error(`${file} is no ready file of countersign up`)
}

/** Whether a file is one of an earlier start, or empty, as somebody makes one to be written. */
export function isReadyFile(file: string): boolean {
  try {
    const text = readFileSync(file, 'utf8')
    return text === '' || isSystem(JSON.parse(text))
  } catch {
    return false
  }
}

function isSystem(content: Partial<System> | null): boolean {
  return content?.authority?.url !== undefined
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
  if (ready !== undefined && manifest !== undefined) {
    throw new Error('--ready FILE or --manifest URL, one of them')
  }
  if (manifest === undefined) {
    const { url, trust_anchor } = readSystem(ready).authority
    return { authority: url, trustAnchor: readJson(anchorFile ?? trust_anchor) }
  }
  if (!URL.canParse(manifest)) throw new Error(`--manifest takes a URL, not ${manifest}`)
  const authority = new URL('.', manifest).href
  if (anchorFile !== undefined) return { authority, trustAnchor: readJson(anchorFile) }
  process.stderr.write('the trust anchor comes from the authority itself; pin it with --trust-anchor FILE\n')
  return { authority, trustAnchor: await fetchTrustAnchor(authority) }
}

/** Runs `task` with the newest verified manifest at hand. */
export async function withManifest<Result>(
  { authority, trustAnchor }: { readonly authority: string; readonly trustAnchor: TrustAnchor },
  task: (follower: Follower) => Promise<Result> | Result,
): Promise<Result> {
  const { promise: inVain, reject: giveUp } = Promise.withResolvers<never>()
  let problems = 0
  const onProblem = ({ message }: Error): void => {
    problems++
    if (problems >= PROBLEMS_MAX) giveUp(new Error(`no manifest to decide by: ${message}`))
  }
  const late = setTimeout(
    () => giveUp(new Error(`no manifest from ${authority} that the trust anchor vouches for`)),
    MANIFEST_MILLISECONDS_MAX,
  )
  // Only the race below hears it; what goes wrong after that is the follower's.
  inVain.catch(() => {})
  const follower = followManifest({ authority, trustAnchor, onProblem })
  try {
    await Promise.race([follower.ready(), inVain])
    return await task(follower)
  } finally {
    clearTimeout(late)
    await follower.stop()
  }
}

async function fetchTrustAnchor(authority: string): Promise<TrustAnchor> {
  const url = new URL('trust-anchor', authority)
  const response = await fetch(url, { redirect: 'error' }).catch(() => {
    throw new Error(`the authority at ${url.origin} does not answer`)
  })
  if (!response.ok) {
    throw new Error(`the authority answered ${response.status} when asked for its trust anchor`)
  }
  return (await response.json()) as TrustAnchor
}
