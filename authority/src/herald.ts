/**
 * What validators are told, and how: the newest manifest, and every few seconds the authority's word that it still is
 * the newest. Both are made text once and then only copied.
 * @module
 */

import type { KeyObject } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import type { Charter } from '@countersign/validator/charter'
import { signFreshness } from '@countersign/validator/freshness'
import type { Published } from './publisher.ts'
import { createStreams, type Listener } from './stream.ts'

/** Versions whose acknowledgement is still taken: a validator may be some behind when several follow in a row. */
const RECENT_VERSIONS_MAX = 64

export interface Herald {
  /** Tells every validator of a new manifest, the newest as of a time: seconds since the epoch. */
  proclaim(published: Published, asOf: number): void
  /** Says that the manifest proclaimed last was still the newest as of a time. */
  vouch(asOf: number): void
  /** What `GET /manifest` answers; undefined before the first. */
  readonly manifest: string | undefined
  /** What acknowledgements name a recent version by. */
  sha256Of(version: number): string | undefined
  /** Opens a stream, which starts with the newest manifest. */
  openStream(response: ServerResponse, listener: Listener): void
  /** Passes on a statement of the witness to the streams that want such. */
  tellRoots(statement: string): void
  /** Whether there are any. */
  wantRoots(): boolean
  /** The names under which streams are open now. */
  connected(): ReadonlySet<string>
  close(): void
}

/** `keyUnder` gives the key that signs under a charter. */
export function createHerald(keyUnder: (charter: Charter) => KeyObject): Herald {
  const streams = createStreams()
  const recent = new Map<number, string>()
  let newest: Published | undefined
  let manifest: string | undefined

  /** Signs that `published` was the newest manifest as of that time, which is before anybody looked whether it was. */
  function renew({ manifest: { version }, charter, document, sha256 }: Published, asOf: number): string {
    const issuedAt = Math.floor(asOf)
    const freshness = signFreshness({ version, manifestSha256: sha256, issuedAt }, keyUnder(charter))
    manifest = JSON.stringify({ ...document, freshness })
    return freshness
  }

  function manifestEvents() {
    if (newest === undefined || manifest === undefined) return []
    return [{ event: 'manifest' as const, id: newest.manifest.version, data: manifest }]
  }

  return {
    proclaim: (published, asOf) => {
      newest = published
      recent.set(published.manifest.version, published.sha256)
      if (recent.size > RECENT_VERSIONS_MAX) recent.delete(recent.keys().next().value as number)
      renew(published, asOf)
      for (const event of manifestEvents()) streams.send(event)
    },
    vouch: (asOf) => {
      if (newest !== undefined) streams.send({ event: 'freshness', data: renew(newest, asOf) })
    },
    get manifest() {
      return manifest
    },
    sha256Of: (version) => recent.get(version),
    openStream: (response, listener) => streams.open(response, listener, manifestEvents()),
    tellRoots: (statement) => streams.send({ event: 'roots', data: statement }),
    wantRoots: streams.wantRoots,
    connected: streams.connected,
    close: streams.close,
  }
}
