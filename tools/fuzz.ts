/**
 * Throws odd inputs at whatever reads tokens before a signature was checked: the reader (base64url, JSON, compact JWS), the
 * decoder of receipts, and the whole verdict behind them. What must never happen: another error than a refusal, an input that
 * takes long, one accepted that is not a good token to the letter, or one that could be written in two ways.
 *
 *     npm run fuzz                              100 000 inputs of the seed 1
 *     npm run fuzz -- --count 10000000 --seed 7
 *     npm run fuzz -- --cost 1000000            what hostile tokens cost before their signature is looked at, and what they leave
 *
 * The seed decides what is done to which good token; the good tokens themselves are new in each run, as their keys are. So what is
 * found is printed whole.
 * @module
 */

import { parseArgs } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { createValidator } from '@countersign/validator'
import { decode, encode } from '@countersign/validator/base64url'
import { encodeEntry, entryOf, leafHash } from '@countersign/validator/entry'
import { algorithms, parseCompact } from '@countersign/validator/jws'
import { decodeReceipt, encodeReceipt, type Receipt, verifyReceipt } from '@countersign/validator/receipt'
import { Refusal } from '@countersign/validator/refusal'
import { createTestKey, createTestWorld, mailAudience } from '@countersign/validator/testing'

/** What the inputs go into. */
export interface Targets {
  /** Throws `Refusal`, or gives the segments that it read. */
  read(token: string): readonly string[]
  accepts(token: string): boolean
  /** Throws `Refusal`. */
  decodeReceipt(bytes: Uint8Array): Receipt
}

/** Something that must never happen. */
export interface Finding {
  readonly index: number
  readonly input: string
  readonly what: string
}

export interface Outcome {
  readonly findings: readonly Finding[]
  /** How many inputs got how far; with nothing behind the reader, nothing behind it was tried. */
  readonly reached: Readonly<
    Record<'token' | 'receipt' | 'read' | 'decoded' | 'accepted' | 'countersigned', number>
  >
  readonly slowestMilliseconds: number
}

/** On a loaded machine too, nothing takes so long but what hangs. */
const MILLISECONDS_MAX = 2000

const world = createTestWorld()
const validator = createValidator({
  realm: ['consumer', 'enterprise'],
  audience: mailAudience,
  trust: world.trust,
  now: () => world.now,
})

const good = [
  ...algorithms.map((algorithm, nth) => {
    const key = nth === 0 ? world.keys.consumer : createTestKey(algorithm)
    return world.issue({ key, header: { alg: algorithm, kid: key.kid } })
  }),
  ...world.issueBatch(Array.from({ length: 5 }, () => ({ realm: 'enterprise' as const }))),
]
const goodSet: ReadonlySet<string> = new Set(good)
const segments = good.flatMap((token) => token.split('.'))
const texts = good.flatMap((token) =>
  token.split('.', 2).map((segment) => Buffer.from(decode(segment)).toString()),
)
const receipts = good.map((token) =>
  decode((JSON.parse(texts[good.indexOf(token) * 2] ?? '') as { rcpt: string }).rcpt),
)
const goodReceipts: ReadonlySet<string> = new Set(receipts.map(encode))
/** The entries that the receipts are for, but for the serial, which a receipt brings. */
const entries = good.map((token) => {
  const [header = '', payloadSegment = ''] = token.split('.')
  const { kid } = JSON.parse(Buffer.from(decode(header)).toString())
  const { iat, exp } = JSON.parse(Buffer.from(decode(payloadSegment)).toString())
  return { tokenType: 'access', kid, issuedAt: iat, expiresAt: exp, payloadSegment } as const
})
const [log] = world.state.manifest.logs.values()

export const targets: Targets = {
  read: (token) => {
    const { headerSegment, payloadSegment, signatureSegment } = parseCompact(token)
    return [headerSegment, payloadSegment, signatureSegment]
  },
  accepts: (token) => validator.decide(token).accepted,
  decodeReceipt,
}

/** Tries the first `count` inputs of a seed. */
export function fuzz(seed: number, count: number, against: Targets = targets): Outcome {
  const findings: Finding[] = []
  const reached = { token: 0, receipt: 0, read: 0, decoded: 0, accepted: 0, countersigned: 0 }
  let slowestMilliseconds = 0
  for (let index = 0; index < count; index++) {
    const input = inputOf(seed, index)
    const find = (what: string): void => {
      findings.push({ index, what, input: typeof input === 'string' ? input : encode(input) })
    }
    const started = performance.now()
    try {
      if (typeof input === 'string') tryToken(input, against, reached, find)
      else tryReceipt(input, index, against, reached, find)
    } catch (error) {
      find(`not a refusal: ${String(error)}`)
    }
    const milliseconds = performance.now() - started
    if (milliseconds > slowestMilliseconds) slowestMilliseconds = milliseconds
    if (milliseconds > MILLISECONDS_MAX) find(`took ${Math.round(milliseconds)} ms`)
  }
  return { findings, reached, slowestMilliseconds }
}

type Reached = { -readonly [Stage in keyof Outcome['reached']]: number }

function tryToken(
  token: string,
  { read, accepts }: Targets,
  reached: Reached,
  find: (what: string) => void,
): void {
  reached.token++
  const parts = refusedOr(() => read(token))
  if (parts !== undefined) {
    reached.read++
    const again = parts.map((segment) => encode(Buffer.from(segment, 'base64url'))).join('.')
    if (again !== token) find('read, and could be written in another way')
  }
  if (!accepts(token)) return
  reached.accepted++
  if (!goodSet.has(token)) find('accepted')
}

function tryReceipt(
  bytes: Uint8Array,
  index: number,
  against: Targets,
  reached: Reached,
  find: (what: string) => void,
): void {
  reached.receipt++
  const receipt = refusedOr(() => against.decodeReceipt(bytes))
  if (receipt === undefined) return
  reached.decoded++
  if (Buffer.compare(encodeReceipt(receipt), bytes) !== 0)
    find('decoded, and could be written in another way')
  const entry = entries[index % entries.length]
  if (entry === undefined || log === undefined) return
  const verified = refusedOr(() => {
    verifyReceipt(receipt, leafHash(encodeEntry(entryOf({ ...entry, serial: receipt.serial }))), log)
    return true
  })
  if (verified === undefined) return
  reached.countersigned++
  if (!goodReceipts.has(encode(bytes))) find('countersigned')
}

function refusedOr<Result>(act: () => Result): Result | undefined {
  try {
    return act()
  } catch (error) {
    if (error instanceof Refusal) return undefined
    throw error
  }
}

/** One input in two is a token as text, the other a receipt as bytes. */
export function inputOf(seed: number, index: number): string | Uint8Array {
  const dice = diceOf(seed, index)
  return index % 2 === 0 ? tokenFrom(dice) : receiptFrom(dice)
}

/** A whole number below `below`. */
type Dice = (below: number) => number

/** Mulberry32, begun anew for each input: one finding does not move the others. */
function diceOf(seed: number, index: number): Dice {
  let state = (Math.imul(seed, 0x9e3779b1) ^ Math.imul(index, 0x85ebca6b)) >>> 0
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below
  }
}

function pick<Item>(dice: Dice, items: readonly Item[]): Item {
  return items[dice(items.length)] as Item
}

const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
const odd = [
  '.',
  '..',
  '=',
  '==',
  '+',
  '/',
  '%2e',
  ' ',
  '\n',
  '\r\n',
  '\t',
  '\0',
  '\u00e9',
  '\u212a',
  '\ud800',
  '🙂',
  '{}',
  'e30',
]

function tokenFrom(dice: Dice): string {
  switch (dice(8)) {
    case 0:
      return randomText(dice)
    case 1:
      return Array.from({ length: 1 + dice(5) }, () =>
        dice(3) === 0 ? randomText(dice) : pick(dice, segments),
      ).join('.')
    case 2:
    case 3:
      return [segmentOf(writtenObject(dice)), segmentOf(writtenObject(dice)), pick(dice, segments)].join('.')
    case 4: {
      // Both JSON texts good but for an edit, and no signature for them.
      const [header = '', payload = '', signature = ''] = pick(dice, good).split('.')
      const twist = (segment: string): string =>
        segmentOf(edited(dice, Buffer.from(segment, 'base64url').toString()))
      return dice(2) === 0
        ? `${twist(header)}.${payload}.${signature}`
        : `${header}.${twist(payload)}.${signature}`
    }
    default:
      return edited(dice, pick(dice, good))
  }
}

function segmentOf(text: string): string {
  return encode(Buffer.from(text))
}

/** One to three edits of a text, each anywhere: cut, put, doubled, turned, one character changed by one bit. */
function edited(dice: Dice, text: string): string {
  let now = text
  for (let edits = 1 + dice(3); edits > 0; edits--) {
    const at = dice(now.length + 1)
    const upTo = at + dice(dice(4) === 0 ? 200 : 4)
    const [before, cut, after] = [now.slice(0, at), now.slice(at, upTo), now.slice(upTo)]
    switch (dice(5)) {
      case 0:
        now = before + after
        break
      case 1:
        now = before + pick(dice, odd) + after
        break
      case 2:
        now = before + cut + cut + after
        break
      case 3:
        now = after + before
        break
      default:
        now = before + String.fromCharCode((cut.charCodeAt(0) || 0) ^ (1 << dice(8))) + cut.slice(1) + after
    }
  }
  return now
}

function randomText(dice: Dice): string {
  let text = ''
  for (let length = dice(dice(10) === 0 ? 3000 : 60); length > 0; length--)
    text += dice(40) === 0 ? pick(dice, odd) : alphabet[dice(64)]
  return text
}

const words = [
  '{',
  '}',
  '[',
  ']',
  ',',
  ':',
  '"',
  '\\',
  '\\u0061',
  '\\ud800',
  'null',
  'true',
  '0',
  '-0',
  '1e400',
  '1.0',
  ' ',
  '\ufeff',
]
const names = [
  'alg',
  'typ',
  'kid',
  'rcpt',
  'crit',
  'b64',
  'jwk',
  'jku',
  'iss',
  'sub',
  'aud',
  'exp',
  'iat',
  'jti',
  'tid',
  'cnf',
]
const values = [
  '"ES256"',
  '"none"',
  '"HS256"',
  '"at+jwt"',
  '""',
  '1800000000',
  '[]',
  '{}',
  '[[[[]]]]',
  '1e3',
  '"\\u0000"',
]

/** A text that is nearly a JSON object, or one with too much of something. */
function writtenObject(dice: Dice): string {
  if (dice(4) === 0) return edited(dice, pick(dice, texts))
  if (dice(12) === 0) return nested(dice(3000))
  if (dice(6) === 0) return Array.from({ length: dice(30) }, () => pick(dice, words)).join('')
  const members = Array.from({ length: dice(8) }, () => `"${pick(dice, names)}":${pick(dice, values)}`)
  return `{${members.join(dice(20) === 0 ? ';' : ',')}}`
}

function nested(depth: number): string {
  return `{"a":${'['.repeat(depth)}${']'.repeat(depth)}}`
}

function receiptFrom(dice: Dice): Uint8Array {
  const receipt = Buffer.from(pick(dice, receipts))
  switch (dice(6)) {
    case 0:
      return Uint8Array.from({ length: dice(300) }, () => dice(256))
    case 1:
      return Buffer.concat([
        receipt.subarray(0, dice(receipt.length + 1)),
        Uint8Array.from({ length: dice(70) }, () => dice(256)),
      ])
    case 2:
      return writtenReceipt(dice)
    case 3: {
      const other = pick(dice, receipts)
      const at = dice(receipt.length)
      return Buffer.concat([receipt.subarray(0, at), other.subarray(Math.min(other.length, at + dice(3)))])
    }
    default: {
      for (let edits = dice(4); edits > 0; edits--) {
        const at = dice(dice(2) === 0 ? receipt.length : 16)
        receipt[at] = (receipt[at] ?? 0) ^ (1 << dice(8))
      }
      return receipt
    }
  }
}

/** The members in their order, each a number that is likely to be one too many. */
function writtenReceipt(dice: Dice): Uint8Array {
  const bytes = [dice(20) === 0 ? dice(256) : 1, ...(receipts[0]?.subarray(1, 5) ?? [])]
  const numbers = [
    0,
    1,
    2,
    3,
    7,
    8,
    31,
    32,
    33,
    64,
    127,
    128,
    2 ** 31,
    2 ** 32,
    2 ** 53 - 1,
    2 ** 53,
    2 ** 60,
  ]
  for (let member = 0; member < 4; member++) {
    for (
      let rest = pick(dice, numbers);
      rest >= 128 || (bytes.push(rest) && false);
      rest = Math.floor(rest / 128)
    )
      bytes.push((rest % 128) | 128)
    if (dice(30) === 0) bytes.push(0x80, 0)
  }
  const hashes = dice(7)
  for (let byte = 0; byte < hashes * 32 + 64; byte++) bytes.push(dice(256))
  return Uint8Array.from(bytes)
}

/** What hostile tokens of each kind cost. */
export interface Cost {
  readonly kind: string
  readonly count: number
  readonly charactersMean: number
  /** CPU time of the whole process, so that garbage counts too. */
  readonly microseconds: number
}

const claimsText = texts[1] ?? '{}'
const goodHeader = texts[0] ?? '{}'

/** Tokens that must fall before a signature is looked at, by what is wrong with them. */
const hostile: Readonly<Record<string, (dice: Dice) => string>> = {
  'random text': (dice) => randomText(dice),
  'a megabyte': (dice) => megabyte + dice(10),
  'as long as may be read, dots only': () => '.'.repeat(16_384),
  'as long as may be read, of padding': (dice) =>
    `${segmentOf(goodHeader)}.${'A'.repeat(15_000 + dice(900))}=.AA`,
  'claims as deep as fits': (dice) => `${segmentOf(goodHeader)}.${segmentOf(nested(4000 + dice(1000)))}.AA`,
  'claims with a thousand members, one twice': (dice) =>
    `${segmentOf(goodHeader)}.${segmentOf(crowd(dice))}.AA`,
  'claims of escapes alone': (dice) => `${segmentOf(goodHeader)}.${segmentOf(escapes(dice))}.AA`,
  'alg none': () => `${segmentOf(goodHeader.replace('ES256', 'none'))}.${segmentOf(claimsText)}.`,
  'a header that names its own key': () =>
    `${segmentOf(goodHeader.replace('{', '{"jku":"https://thief.example/keys",'))}.${segmentOf(claimsText)}.AA`,
  'a key that nobody knows': (dice) =>
    `${segmentOf(goodHeader.replace(/"kid":"[^"]*"/, `"kid":"${dice(2 ** 31)}"`))}.${segmentOf(claimsText)}.AA`,
  'another audience': () =>
    `${segmentOf(goodHeader)}.${segmentOf(claimsText.replace(mailAudience, 'https://other.example'))}.AA`,
  'an edit of a good one': (dice) => edited(dice, good[0] ?? ''),
}

const megabyte = 'A'.repeat(1_000_000)

function crowd(dice: Dice): string {
  const members = Array.from({ length: 1000 }, (_, nth) => `"m${nth}":0`)
  return `{${members.join(',')},"m${dice(1000)}":1}`
}

function escapes(dice: Dice): string {
  return `{"a":"${'\\u0061'.repeat(1000 + dice(500))}"}`
}

/** Decides about `count` hostile tokens, in equal parts, and measures each part. `heap` hears of the heap between them, collected. */
export function measureCost(count: number, heap: (bytes: number) => void = () => {}): readonly Cost[] {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const each = Math.ceil(count / Object.keys(hostile).length)
  // Without sighting, so that the check of a signature for the sentinel's sake is not counted as the verdict's.
  const costs = Object.entries(hostile).map(([kind, make]) => {
    // A part of a batch at a time: making them must not be counted, and they must not be kept.
    let [microseconds, characters] = [0, 0]
    for (let made = 0; made < each; made += BATCH) {
      const tokens = Array.from({ length: Math.min(BATCH, each - made) }, (_, nth) => make(diceOf(made, nth)))
      for (const token of tokens) characters += token.length
      const before = process.cpuUsage()
      for (const token of tokens)
        if (validator.decide(token).accepted && !goodSet.has(token)) throw new Error(`accepted: ${kind}`)
      const { user, system } = process.cpuUsage(before)
      microseconds += user + system
    }
    collect()
    heap(process.memoryUsage().heapUsed)
    return { kind, count: each, charactersMean: characters / each, microseconds: microseconds / each }
  })
  return costs
}

const BATCH = 100

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      count: { type: 'string', default: '100000' },
      seed: { type: 'string', default: '1' },
      cost: { type: 'string' },
    },
  })
  if (values.cost !== undefined) showCost(Number(values.cost))
  else run(Number(values.seed), Number(values.count))
}

function run(seed: number, count: number): void {
  const started = performance.now()
  const outcome = fuzz(seed, count)
  const seconds = (performance.now() - started) / 1000
  for (const { index, what, input } of outcome.findings)
    console.log(`input ${index}: ${what}\n  ${JSON.stringify(input)}`)
  console.log(
    `seed ${seed}: ${count} inputs in ${seconds.toFixed(0)} s, the slowest ${outcome.slowestMilliseconds.toFixed(1)} ms`,
  )
  console.log(JSON.stringify(outcome.reached))
  console.log(`${outcome.findings.length} findings`)
  process.exitCode = outcome.findings.length === 0 ? 0 : 1
}

function showCost(count: number): void {
  const heaps: number[] = []
  const costs = measureCost(count, (bytes) => void heaps.push(bytes))
  for (const { kind, microseconds, charactersMean } of costs)
    console.log(
      `${microseconds.toFixed(1).padStart(8)} µs  ${kind} (${Math.round(charactersMean)} characters)`,
    )
  const megabytes = heaps.map((bytes) => (bytes / 2 ** 20).toFixed(1)).join(' ')
  console.log(`heap after each kind, collected: ${megabytes} MiB`)
}
