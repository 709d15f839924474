/**
 * Looks for a private key wherever it might have leaked to: in files, and in the memory of processes as Linux shows it.
 * @module
 */

import { closeSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs'
import { join } from 'node:path'

/** A byte string that gives a key away, and what it is. */
export interface Form {
  readonly name: string
  readonly bytes: Buffer
}

/** Whatever a private value is commonly written as; OpenSSL holds numbers with their last byte first. */
export function formsOf(name: string, value: Buffer): readonly Form[] {
  const hex = value.toString('hex')
  const base64 = value.toString('base64')
  const text = (kind: string, written: string): Form => ({
    name: `${name} ${kind}`,
    bytes: Buffer.from(written),
  })
  return [
    { name: `${name} raw`, bytes: value },
    { name: `${name} reversed`, bytes: Buffer.from(value).reverse() },
    text('hex', hex),
    text('upper hex', hex.toUpperCase()),
    text('base64url', value.toString('base64url')),
    // JSON may write the slash of base64 with a backslash before it; what is left at both ends is enough.
    text(
      'base64',
      base64.split('/').reduce((longest, part) => (part.length > longest.length ? part : longest), ''),
    ),
  ].filter(({ bytes }) => bytes.length >= FORM_BYTES_MIN)
}

/** Shorter ones are met by chance. */
const FORM_BYTES_MIN = 12

/** The names of the forms that stand in it. */
export function findIn(bytes: Buffer, forms: readonly Form[]): readonly string[] {
  return forms.filter((form) => bytes.includes(form.bytes)).map(({ name }) => name)
}

/** Every file below a folder that holds one of the forms. */
export function findInFolder(folder: string, forms: readonly Form[]): readonly string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .flatMap((file) => findIn(readFileSync(file), forms).map((name) => `${file}: ${name}`))
}

const CHUNK_BYTES = 256 * 1024
const OVERLAP_BYTES = 256
/** Most of what a process may write to it never has. */
const untouched = Buffer.alloc(CHUNK_BYTES)

/** All memory of a process that can be read and is not a file's: heaps, stacks, buffers. Other people cannot do this. */
export function findInMemory(pid: number, forms: readonly Form[]): readonly string[] {
  const found = new Set<string>()
  const memory = openSync(`/proc/${pid}/mem`, 'r')
  try {
    for (const [start, end] of writableRegions(pid)) {
      for (let at = start; at < end; at += CHUNK_BYTES - OVERLAP_BYTES) {
        const bytes = readMemory(memory, at, Math.min(CHUNK_BYTES, end - at))
        if (bytes.equals(untouched.subarray(0, bytes.length))) continue
        for (const name of findIn(bytes, forms)) found.add(name)
      }
    }
  } finally {
    closeSync(memory)
  }
  return [...found]
}

function writableRegions(pid: number): readonly (readonly [start: number, end: number])[] {
  return readFileSync(`/proc/${pid}/maps`, 'utf8')
    .split('\n')
    .filter((line) => / rw/.test(line))
    .map((line) => {
      const [start = '', end = ''] = (line.split(' ')[0] ?? '').split('-')
      return [Number.parseInt(start, 16), Number.parseInt(end, 16)] as const
    })
}

/** What went away in between, or cannot be read, holds nothing that anybody could take. */
function readMemory(memory: number, position: number, length: number): Buffer {
  const bytes = Buffer.alloc(length)
  try {
    return bytes.subarray(0, readSync(memory, bytes, 0, length, position))
  } catch {
    return Buffer.alloc(0)
  }
}
