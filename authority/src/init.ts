/**
 * The authority's manifest keys, each made once: what `init` does, and `init --next` when a charter is to replace the
 * one in use. The charter names the public half, and decides by it which of them signs.
 * @module
 */

import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Charter } from '@countersign/validator/charter'
import { importOnce, publicHalf } from '@countersign/validator/document'
import type { PublicJwk } from '@countersign/validator/jws'
import { readPrivateKey } from '@countersign/validator/private-file'
import { Denial } from './denial.ts'

const FIRST = 'manifest-key.json'
const keyFile = /^manifest-key(-(\d+))?\.json$/

/**
 * Makes a manifest key (ES256) in the folder and returns its public half: the first, or one to follow those that are
 * there. Never overwrites one.
 */
export function initAuthority(data: string, { isNext = false } = {}): { readonly jwk: PublicJwk } {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  if (!isNext) mkdirSync(data, { recursive: true, mode: 0o700 })
  const name = isNext ? nextFile(data) : FIRST
  const text = `${JSON.stringify(privateKey.export({ format: 'jwk' }))}\n`
  writeFileSync(join(data, name), text, { mode: 0o600, flag: 'wx', flush: true })
  return { jwk: publicHalf(privateKey).jwk }
}

/** Gives the key that signs manifests under a charter. */
export interface ManifestKeys {
  /** Throws `Denial` when the charter names none that lies here. */
  under(charter: Pick<Charter, 'manifestKeys'>): KeyObject
}

/**
 * The manifest keys of a folder. Of several that a charter names, the last signs, so that a key put behind another one
 * follows it. Throws when there is none, or when others may read one.
 */
export function openManifestKeys(data: string): ManifestKeys {
  // Read anew when a charter names none of those that are known: the next one is made while the authority runs.
  let known = readKeys(data)
  const find = ({ manifestKeys }: Pick<Charter, 'manifestKeys'>): KeyObject | undefined => {
    const named = manifestKeys.map((jwk) => importOnce(jwk).kid)
    return named.map((kid) => known.get(kid)).findLast((key) => key !== undefined)
  }
  return {
    under: (charter) => {
      let key = find(charter)
      if (key === undefined) {
        known = readKeys(data)
        key = find(charter)
      }
      if (key === undefined) throw new Denial('no_manifest_key')
      return key
    },
  }
}

function readKeys(data: string): ReadonlyMap<string, KeyObject> {
  const names = keyFiles(data)
  const keys = (names.length === 0 ? [FIRST] : names).map((name) => readPrivateKey(join(data, name)))
  return new Map(keys.map((key) => [publicHalf(key).kid, key]))
}

/** Gaps stay gaps: a number that was used may stand in somebody's notes. */
function nextFile(data: string): string {
  const numbers = keyFiles(data).map((name) => Number(keyFile.exec(name)?.[2] ?? 1))
  if (numbers.length === 0) throw new Error(`${data} holds no manifest key yet: init makes the first`)
  return `manifest-key-${Math.max(...numbers) + 1}.json`
}

function keyFiles(data: string): readonly string[] {
  return readdirSync(data).filter((name) => keyFile.test(name))
}
