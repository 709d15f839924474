/**
 * How documents come over HTTP from an authority that may be slow, broken or somebody else: in bounded time and
 * memory, from the address that was asked and no other, and only as what was asked for.
 * @module
 */

import type { Charter } from './charter.ts'
import { readDocument, readPayload } from './document.ts'
import { type JsonObject, parseObject } from './json.ts'
import { parseUrl } from './url.ts'

/** The authority did not deliver, or not in a form that can be read. Asking again later is safe. */
export class DeliveryFault extends Error {
  readonly retryable = true
  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'DeliveryFault'
  }
}

/** A manifest of some thousand keys, with room. */
export const DOCUMENT_BYTES_MAX = 8 * 1024 * 1024
const ANSWER_MILLISECONDS_MAX = 10_000

/** Gets a JSON object, which may also come under another media type than JSON's own. Throws `DeliveryFault`. */
export async function fetchObject(
  url: URL,
  signal: AbortSignal,
  mediaTypes: readonly string[] = ['application/json'],
  bytesMax: number = DOCUMENT_BYTES_MAX,
): Promise<JsonObject> {
  const whole = AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MILLISECONDS_MAX)])
  const response = await request(url, { headers: { accept: mediaTypes.join(', ') }, signal: whole })
  return readAnswer(url, response, mediaTypes, bytesMax)
}

/** Posts a JSON object for another, for as long as the signal lets it wait. Throws `DeliveryFault`. */
export async function postObject(
  url: URL,
  headers: Readonly<Record<string, string>>,
  body: JsonObject,
  signal: AbortSignal,
): Promise<JsonObject> {
  const response = await request(url, {
    method: 'POST',
    headers: { accept: 'application/json', 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
    signal,
  })
  return readAnswer(url, response, ['application/json'], DOCUMENT_BYTES_MAX)
}

/** What the paths of an authority are relative to. Throws `TypeError` where nobody could be asked. */
export function baseOf(authority: string): URL {
  const url = parseUrl(authority.endsWith('/') ? authority : `${authority}/`)
  if (url === null || !/^https?:$/.test(url.protocol))
    throw new TypeError('authority is no URL of http or https')
  return url
}

/**
 * The charters between the newest one held and the one that a manifest names. What the manifest names is not verified yet, so each
 * charter is before the next is asked for: who has none to show ends the walk. Rejects with what `get` and `verify` throw.
 */
export async function fetchCharters(
  manifest: JsonObject,
  held: Charter | undefined,
  get: (path: string) => Promise<JsonObject>,
  verify: (document: JsonObject, before: Charter | undefined) => Charter | Promise<Charter>,
): Promise<readonly JsonObject[]> {
  const named = Number(readPayload(readDocument(manifest).payload)['charter_version'])
  const charters: JsonObject[] = []
  let charter = held
  for (let version = (charter?.version ?? 0) + 1; version <= named; version++) {
    const document = await get(`charter/${version}`)
    charter = await verify(document, charter)
    charters.push(document)
  }
  return charters
}

async function readAnswer(
  url: URL,
  response: Response,
  mediaTypes: readonly string[],
  bytesMax: number,
): Promise<JsonObject> {
  const body = await checkAnswer(url, response, mediaTypes)
  const text = await readText(body, bytesMax)
  try {
    return parseObject(text)
  } catch {
    throw new DeliveryFault(`${url.pathname} answers something that is not JSON`)
  }
}

/** Opens a stream of events. Aborting the signal closes it. Throws `DeliveryFault`. */
export async function openStream(
  url: URL,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<ReadableStream<Uint8Array>> {
  const response = await request(url, { headers: { accept: 'text/event-stream', ...headers }, signal })
  return checkAnswer(url, response, ['text/event-stream'])
}

/** Posts a compact JWS. Throws `DeliveryFault` unless it was taken. */
export async function postStatement(url: URL, statement: string, signal: AbortSignal): Promise<void> {
  const response = await request(url, {
    method: 'POST',
    headers: { 'content-type': 'application/jwt' },
    body: statement,
    signal: AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MILLISECONDS_MAX)]),
  })
  await response.body?.cancel()
  if (!response.ok) throw new DeliveryFault(`${url.pathname} answers status ${response.status}`)
}

async function request(url: URL, init: RequestInit): Promise<Response> {
  const headers = { 'accept-encoding': 'identity', 'cache-control': 'no-cache', ...init.headers }
  try {
    // Not followed, and its status is none that is taken. Runtimes at the edge know no 'error' here.
    return await fetch(url, { ...init, headers, redirect: 'manual' })
  } catch (cause) {
    throw new DeliveryFault(`${url.pathname} at ${url.host} does not answer`, { cause })
  }
}

async function checkAnswer(
  { pathname }: URL,
  response: Response,
  mediaTypes: readonly string[],
): Promise<ReadableStream<Uint8Array>> {
  const type = response.headers.get('content-type')?.split(';', 1)[0]?.trim().toLowerCase() ?? ''
  const encoded = response.headers.has('content-encoding')
  if (response.status === 200 && mediaTypes.includes(type) && !encoded && response.body !== null)
    return response.body
  await response.body?.cancel()
  if (response.status !== 200) throw new DeliveryFault(`${pathname} answers status ${response.status}`)
  throw new DeliveryFault(`${pathname} answers something else than ${mediaTypes[0]}`)
}

async function readText(body: ReadableStream<Uint8Array>, bytesMax: number): Promise<string> {
  const decoder = new TextDecoder('utf-8', { fatal: true })
  let text = ''
  let bytes = 0
  try {
    for await (const chunk of body) {
      bytes += chunk.length
      if (bytes > bytesMax) throw new DeliveryFault('the authority answers without end')
      text += decoder.decode(chunk, { stream: true })
    }
    return text + decoder.decode()
  } catch (cause) {
    if (cause instanceof DeliveryFault) throw cause
    throw new DeliveryFault('the answer of the authority broke off', { cause })
  }
}
