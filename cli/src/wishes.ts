/**
 * By which configuration a data folder is started: the one that is given; or the one that was proposed while it ran, as soon as two
 * people have approved what it asks of the charter; or the one before.
 *
 *     DATA/config/up.json         what the last start went by
 *     DATA/config/proposed.json   what `countersign charter propose --config` has drafted a charter from
 *
 * @module
 */

import { existsSync, rmSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { APPROVAL_SECONDS_MAX } from '@countersign/validator/approval'
import { parseTrustAnchor, type TrustAnchor, verifyCharter } from '@countersign/validator/charter'
import { readPayload, type SignedDocument } from '@countersign/validator/document'
import type { JsonObject } from '@countersign/validator/json'
import { readWishes, type Wishes } from './config.ts'
import { readJson, writePrivate } from './files.ts'
import type { Layout } from './layout.ts'
import { demandsOf, firstUnmet, type Unmet } from './rules.ts'
import { planWorld } from './world.ts'

/** Written down by a start that goes by them. Those that were proposed are then these, or are superseded. */
export function keepWishes(data: string, wishes: Wishes): void {
  writePrivate(keptFile(data), wishes)
}

export function keepProposed(data: string, wishes: Wishes): void {
  writePrivate(proposedFile(data), wishes)
}

/** What the start before went by. */
export function keptWishes(data: string): Wishes {
  const kept = keptFile(data)
  return existsSync(kept) ? readWishes(kept) : {}
}

export interface Approved {
  /** The first charter of the folder. */
  readonly first: JsonObject
  /** The charter in force. Asked for only where the first is not enough. */
  readonly newest: () => Promise<JsonObject>
  readonly say: (line: string) => void
}

/** Throws where something is wished that nobody has approved. `file` is what was given now. */
export async function chooseWishes(
  { data, issuers }: Pick<Layout, 'data' | 'issuers'>,
  file: string | undefined,
  { first, newest, say }: Approved,
): Promise<Wishes> {
  const unmetBy = async (wishes: Wishes): Promise<Unmet | undefined> => {
    const demands = demandsOf(issuers, planWorld(wishes))
    if (firstUnmet(demands, [first]) === undefined) return undefined
    return firstUnmet(demands, [first, await newest()])
  }
  const proposed = proposedFile(data)
  if (file === undefined && existsSync(proposed)) {
    const wishes = readWishes(proposed)
    if ((await unmetBy(wishes)) === undefined) {
      say('the configuration that was proposed has been approved, and counts from now on')
      keepWishes(data, wishes)
      rmSync(proposed)
      return wishes
    }
    // It may still be approved.
    const isOver = Date.now() > statSync(proposed).mtimeMs + APPROVAL_SECONDS_MAX * 1000
    if (isOver) rmSync(proposed)
    say(`the configuration that was proposed has not been approved${isOver ? ', and is given up' : ' yet'}`)
  }
  const wishes = file === undefined ? keptWishes(data) : readWishes(resolve(file))
  const unmet = await unmetBy(wishes)
  if (unmet !== undefined) throw new Error(describeUnmet(unmet, data))
  if (file !== undefined) rmSync(proposed, { force: true })
  return wishes
}

function describeUnmet({ realm, member, wanted, found }: Unmet, data: string): string {
  const what =
    member === undefined
      ? `the charter of ${data} has no realm ${realm}`
      : `the charter of ${data} has for ${realm} as ${member} ${JSON.stringify(found)}, not ${JSON.stringify(wanted)}`
  return (
    `${what}: it changes by approval. Start without this configuration, then: countersign charter propose --config FILE; ` +
    'or another --data starts anew'
  )
}

/** The newest charter that an authority has, each verified under the one before. Throws where it does not answer. */
export async function fetchNewestCharter(authority: string, trustAnchorFile: string): Promise<JsonObject> {
  let under: TrustAnchor = parseTrustAnchor(readJson(trustAnchorFile))
  let newest: SignedDocument | undefined
  for (let version = 1; ; version++) {
    const response = await fetch(new URL(`charter/${version}`, `${authority}/`), { redirect: 'error' })
    if (response.status === 404 && newest !== undefined) return readPayload(newest.payload)
    if (!response.ok) throw new Error(`the authority answered ${response.status} when asked for its charters`)
    newest = (await response.json()) as SignedDocument
    under = verifyCharter(newest, under)
  }
}

function keptFile(data: string): string {
  return join(data, 'config', 'up.json')
}

function proposedFile(data: string): string {
  return join(data, 'config', 'proposed.json')
}
