/**
 * A text that is replaced again and again, and each time is durable when `replace` returns, also when power is lost. Moving a
 * file into the place of another is durable only with its folder, which the permission model keeps a signer from syncing. So
 * there are two files, made once, that are written over in turn; one whose write was cut short leaves the other:
 *
 *     <count of writes> <length of the text in bytes> <SHA-256 of count and text, hex>\n<text>
 *
 * @module
 */

import { hash } from 'node:crypto'
import { closeSync, constants, mkdirSync, openSync, readFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { SignerFault } from './fault.ts'

const { O_WRONLY, O_CREAT, O_EXCL, O_SYNC } = constants
const NAMES = ['0', '1'] as const

interface Written {
  readonly count: number
  readonly text: string
}

export class Twin {
  readonly #folder: string
  #written: Written

  /** Throws `SignerFault` when neither file is whole: what they remembered cannot be made up. */
  constructor(folder: string) {
    this.#folder = folder
    const found = NAMES.flatMap((name) => read(join(folder, name)))
    const newest = found.reduce<Written | undefined>(
      (best, each) => (each.count > (best?.count ?? -1) ? each : best),
      undefined,
    )
    if (newest === undefined) throw new SignerFault(`${folder} is missing or damaged`)
    this.#written = newest
  }

  /** Makes both files. Throws where there is one already. */
  static create(folder: string, text: string): void {
    mkdirSync(folder, { mode: 0o700 })
    for (const name of NAMES) write(join(folder, name), { count: 0, text }, O_CREAT | O_EXCL)
  }

  get text(): string {
    return this.#written.text
  }

  replace(text: string): void {
    const next = { count: this.#written.count + 1, text }
    write(join(this.#folder, NAMES[next.count % 2] as string), next, 0)
    // Only now: after a write that failed the same file is tried again, and the other stays whole.
    this.#written = next
  }
}

function write(file: string, { count, text }: Written, how: number): void {
  const body = Buffer.from(text)
  const bytes = Buffer.concat([Buffer.from(`${count} ${body.length} ${checksum(count, body)}\n`), body])
  const descriptor = openSync(file, O_WRONLY | O_SYNC | how, 0o600)
  try {
    for (let written = 0; written < bytes.length; )
      written += writeSync(descriptor, bytes, written, bytes.length - written, written)
  } finally {
    closeSync(descriptor)
  }
}

function read(file: string): Written[] {
  let bytes: Buffer
  try {
    bytes = readFileSync(file)
  } catch {
    return []
  }
  const end = bytes.indexOf('\n')
  const [count, length, sha256] = bytes.subarray(0, end).toString('latin1').split(' ')
  // What a longer text left behind is no part of this one.
  const body = bytes.subarray(end + 1, end + 1 + Number(length))
  return sha256 === checksum(Number(count), body) ? [{ count: Number(count), text: body.toString() }] : []
}

/** Of the count as well: of a write that was cut short after it, the old text must not pass for the newest. */
function checksum(count: number, body: Uint8Array): string {
  return hash('sha256', Buffer.concat([Buffer.from(`${count} `), body]))
}
