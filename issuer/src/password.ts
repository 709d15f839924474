/**
 * Passwords as argon2id, kept as a PHC string (`$argon2id$v=19$m=…,t=…,p=…$salt$hash`), so that the cost can rise
 * later and old ones still verify. Cost: OWASP Password Storage Cheat Sheet, 19 MiB, two passes.
 * @module
 */

import { argon2, randomBytes, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'

const MEMORY_KIBIBYTES = 19_456
const PASSES = 2
const LANES = 1
const SALT_BYTES = 16
const HASH_BYTES = 32
const VERSION = 19

/** More at once would only queue in the thread pool, each holding its memory. */
const AT_ONCE_MAX = 4
const WAITING_MAX = 64

const derive = promisify(argon2)
const format = /^\$argon2id\$v=19\$m=(\d+),t=(\d+),p=(\d+)\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)$/

/** Too many passwords wait to be checked: the caller answers that it is busy. */
export class Busy extends Error {}

export async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(SALT_BYTES)
  const cost = { memory: MEMORY_KIBIBYTES, passes: PASSES, parallelism: LANES }
  const hash = await queued(() => hashWith(password, salt, HASH_BYTES, cost))
  return `$argon2id$v=${VERSION}$m=${MEMORY_KIBIBYTES},t=${PASSES},p=${LANES}$${base64(salt)}$${base64(hash)}`
}

/** Undefined for a person who does not exist: the same work is done, and the answer is no (T184). */
export async function verifyPassword(password: string, stored: string | undefined): Promise<boolean> {
  const [, memory, passes, lanes, salt = '', expected = ''] = format.exec(stored ?? (await nobodys)) ?? []
  const wanted = Buffer.from(expected, 'base64')
  const cost = { memory: Number(memory), passes: Number(passes), parallelism: Number(lanes) }
  const hash = await queued(() => hashWith(password, Buffer.from(salt, 'base64'), wanted.length, cost))
  return timingSafeEqual(hash, wanted) && stored !== undefined
}

interface Cost {
  readonly memory: number
  readonly passes: number
  readonly parallelism: number
}

function hashWith(password: string, nonce: Buffer, tagLength: number, cost: Cost): Promise<Buffer> {
  // The same characters typed on two systems may arrive composed or decomposed.
  return derive('argon2id', { message: password.normalize('NFKC'), nonce, tagLength, ...cost })
}

let running = 0
const waiting: (() => void)[] = []

async function queued<Result>(work: () => Promise<Result>): Promise<Result> {
  if (running >= AT_ONCE_MAX) {
    if (waiting.length >= WAITING_MAX) throw new Busy('too many passwords are being checked')
    await new Promise<void>((resolve) => waiting.push(resolve))
  } else {
    running++
  }
  try {
    return await work()
  } finally {
    // The place passes to the next in line; it is given up only when nobody waits.
    const next = waiting.shift()
    if (next === undefined) running--
    else next()
  }
}

/** PHC strings leave out the padding. */
function base64(bytes: Buffer): string {
  return bytes.toString('base64').replace(/={1,2}$/, '')
}

const nobodys = hashPassword(randomBytes(32).toString('base64url'))
