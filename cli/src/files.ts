/**
 * Files of a data folder: JSON written whole or not at all, and closed to others where it holds a secret.
 * @module
 */

import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'

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

/** Throws, naming the file, when there is none or it holds no JSON. */
export function readJson<Content>(file: string): Content {
  const text = readText(file)
  try {
    return JSON.parse(text)
  } catch (error) {
    // The rest of the message may quote the file, and that may hold a secret.
    const [where = ''] = / \(line \d+ column \d+\)/.exec((error as Error).message) ?? []
    throw new Error(`${file} is not JSON${where}`)
  }
}

/** What the file holds or, on the first start, what `make` gives, which is then kept. */
export function keepPrivate<Content>(file: string, make: () => Content): Content {
  if (!existsSync(file)) writePrivate(file, make())
  return readJson(file)
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new Error(code === 'ENOENT' ? `there is no file ${file}` : `${file} cannot be read (${code})`)
  }
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
