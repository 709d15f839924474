/**
 * What validators are told, and how: the newest manifest, and every few seconds the authority's word that it still is
 * the newest. Both are made text once and then only copied.
 * @module
 */

import type { KeyObject } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import { signFreshness } from '@countersign/validator/freshness'
import type { Published } from './publisher.ts'
import { createStreams } from './stream.ts'

/** Versions whose acknowledgement is still taken: a validator may be some behind when several follow in a row. */
const RECENT_VERSIONS_MAX = 64

export interface Herald {
  /** Tells every validator of a new manifest. */
  proclaim(published: Published): void
  /** Says again that the newest manifest is the newest. */
  vouch(): void
  /** What `GET /manifest` answers; undefined before the first. */
  readonly manifest: string | undefined
  /** What acknowledgements name a recent version by. */
  sha256Of(version: number): string | undefined
  /** Opens a stream, which starts with the newest manifest. */
  openStream(response: ServerResponse, validator: string | undefined): void
  /** The names under which streams are open now. */
  connected(): ReadonlySet<string>
  close(): void
}

export function createHerald(manifestKey: KeyObject, now: () => number): Herald {
  const streams = createStreams()
  const recent = new Map<number, string>()
  let newest: Published | undefined
  let manifest: string | undefined

  /** Signs that `published` is the newest manifest, as of now. */
  function renew({ manifest: { version }, document, sha256 }: Published): string {
    const issuedAt = Math.floor(now())
    const freshness = signFreshness({ version, manifestSha256: sha256, issuedAt }, manifestKey)
    manifest = JSON.stringify({ ...document, freshness })
    return freshness
  }

  function manifestEvents() {
    if (newest === undefined || manifest === undefined) return []
    return [{ event: 'manifest' as const, id: newest.manifest.version, data: manifest }]
  }

  return {
    proclaim: (published) => {
      newest = published
      recent.set(published.manifest.version, published.sha256)
      if (recent.size > RECENT_VERSIONS_MAX) recent.delete(recent.keys().next().value as number)
      renew(published)
      for (const event of manifestEvents()) streams.send(event)
    },
    vouch: () => {
      if (newest !== undefined) streams.send({ event: 'freshness', data: renew(newest) })
    },
    get manifest() {
      return manifest
    },
    sha256Of: (version) => recent.get(version),
    openStream: (response, validator) => streams.open(response, validator, manifestEvents()),
    connected: streams.connected,
    close: streams.close,
  }
}
