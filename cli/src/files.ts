/**
 * Files of a data folder: JSON written whole or not at all, and closed to others where it holds a secret.
 * @module
 */

import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { readJson } from '@countersign/service/config'

export { readJson }

const PRIVATE = 0o600
const PUBLIC = 0o644

/** Writes JSON, or a text as it is, that only this user may read. */
export function writePrivate(file: string, content: unknown): void {
  write(file, typeof content === 'string' ? content : `${JSON.stringify(content, undefined, 2)}\n`, PRIVATE)
}

/** Writes JSON for everybody. */
export function writePublic(file: string, content: unknown): void {
  write(file, `${JSON.stringify(content, undefined, 2)}\n`, PUBLIC)
}

/** What the file holds or, on the first start, what `make` gives, which is then kept. */
export function keepPrivate<Content>(file: string, make: () => Content): Content {
  if (!existsSync(file)) writePrivate(file, make())
  return readJson(file)
}

/** A reader sees the old file or the new one, never half of one, and neither does a start after a power cut. */
function write(file: string, text: string, mode: number): void {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
  const next = `${file}.next`
  // One that a crash left might be open to others, and writing into it would keep it so.
  rmSync(next, { force: true })
  writeFileSync(next, text, { mode, flag: 'wx', flush: true })
  renameSync(next, file)
}
