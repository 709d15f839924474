/**
 * JSON objects, read so that no two readers can take one text for two things: UTF-8 only, no member twice (however
 * it is escaped), no lone surrogates, no number that a double cannot hold, no `__proto__`, bounded depth.
 * @module
 */

import { decodeUtf8 } from '#platform'
import { Refusal } from './refusal.ts'

/** A value as JSON has it. */
export type JsonValue = null | boolean | number | string | readonly JsonValue[] | JsonObject
/** An object as JSON has it, never changed once it was read. */
export interface JsonObject {
  readonly [member: string]: JsonValue | undefined
}

/** Deeper texts serve nobody but who looks for a stack to overflow. */
const DEPTH_MAX = 32

/** Throws `Refusal('malformed')` unless `source` is one JSON object and nothing else. */
export function parseObject(source: string | Uint8Array): JsonObject {
  const text = typeof source === 'string' ? source : readUtf8(source)
  const value = parse(text)
  if (!isObject(value) || (!isFlat(text) && isDeeper(value, DEPTH_MAX))) throw new Refusal('malformed')
  if (!isPlain(text, value)) scan(text)
  return value
}

/** Whether a JSON value is an object, neither null nor an array. */
export function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function readUtf8(bytes: Uint8Array): string {
  const text = decodeUtf8(bytes)
  if (text === undefined) throw new Refusal('malformed')
  return text
}

function parse(text: string): JsonValue {
  try {
    return JSON.parse(text) as JsonValue
  } catch {
    throw new Refusal('malformed')
  }
}

/** Without brackets but the outermost, as most headers and claims are. */
function isFlat(text: string): boolean {
  return !text.includes('[') && text.indexOf('{', text.indexOf('{') + 1) === -1
}

function isDeeper(value: JsonValue | undefined, depthMax: number): boolean {
  if (typeof value !== 'object' || value === null) return false
  if (depthMax === 0) return true
  for (const member of Object.values(value)) if (isDeeper(member, depthMax - 1)) return true
  return false
}

/**
 * What comes out as it went in had no member twice, no odd number and no lone surrogate (which would come out escaped),
 * and without escapes and `__proto__` nothing is left for `scan` to find. Nearly every token takes this way, several
 * times as fast.
 */
function isPlain(text: string, value: JsonObject): boolean {
  return !text.includes('\\') && !text.includes('__proto__') && JSON.stringify(value) === text
}

/** Strings (a member's name with its colon), numbers and brackets; `JSON.parse` has seen to everything else. */
const tokens = /"(?:[^"\\]|\\.)*"(?:\s*:)?|-?\d[\d.eE+-]*|[{}[\]]/g

/** Looks at each member's name, string and number of a text that `JSON.parse` took. */
function scan(text: string): void {
  const open: (Set<string> | undefined)[] = []
  for (const [token] of text.matchAll(tokens)) {
    if (token === '{') open.push(new Set())
    else if (token === '[') open.push(undefined)
    else if (token === '}' || token === ']') open.pop()
    else if (!token.startsWith('"')) checkNumber(token)
    else if (token.endsWith('"')) checkString(token)
    else checkMember(checkString(token.slice(0, -1)), open.at(-1))
  }
}

function checkNumber(token: string): void {
  if (!Number.isFinite(Number(token))) throw new Refusal('malformed')
}

function checkString(token: string): string {
  const string = JSON.parse(token) as string
  if (!string.isWellFormed()) throw new Refusal('malformed')
  return string
}

function checkMember(name: string, seen: Set<string> | undefined): void {
  // A reader that copies members by assignment would set a prototype with this one.
  if (name === '__proto__' || seen?.has(name)) throw new Refusal('malformed')
  seen?.add(name)
}
