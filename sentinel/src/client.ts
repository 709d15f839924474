/**
 * What others may use of the sentinel: its alerts and incidents, read and followed.
 * @module
 */

import { createEventParser } from '@countersign/validator/event-stream'
import type { Alert } from './alert.ts'
import type { KeyCoverage } from './coverage.ts'
import type { ForeignUsage } from './foreign-usage.ts'
import type { Incident } from './incidents.ts'
import type { KeyUsage } from './usage.ts'

export type { Alert, AlertReason, Rule, Severity } from './alert.ts'
export { sentinelConfig } from './config.ts'
export type { KeyCoverage } from './coverage.ts'
export type { ForeignUsage } from './foreign-usage.ts'
export type { Incident } from './incidents.ts'
export type { KeyUsage } from './usage.ts'

/** The newest alerts first. */
export async function fetchAlerts(sentinel: string): Promise<Alert[]> {
  const response = await fetch(new URL('/alerts', sentinel), { redirect: 'error' })
  if (!response.ok) throw new Error(`the sentinel answered ${response.status}`)
  return (await response.json()) as Alert[]
}

export async function fetchIncidents(sentinel: string): Promise<Incident[]> {
  const response = await fetch(new URL('/incidents', sentinel), { redirect: 'error' })
  if (!response.ok) throw new Error(`the sentinel answered ${response.status}`)
  return (await response.json()) as Incident[]
}

/** Who would notice that a key is gone, by the last `hours`. Throws when there is no sentinel. */
export async function fetchUsage(sentinel: string, kid: string, hours: number): Promise<KeyUsage> {
  const response = await fetch(new URL(`/keys/${kid}/usage?hours=${hours}`, sentinel), { redirect: 'error' })
  if (!response.ok) throw new Error(`the sentinel answered ${response.status}`)
  return (await response.json()) as KeyUsage
}

/** What share of the tokens of each key a validator has accepted. Throws when there is no sentinel. */
export async function fetchCoverage(sentinel: string): Promise<readonly KeyCoverage[]> {
  const response = await fetch(new URL('/coverage', sentinel), { redirect: 'error' })
  if (!response.ok) throw new Error(`the sentinel answered ${response.status}`)
  return ((await response.json()) as { readonly keys: readonly KeyCoverage[] }).keys
}

/** The same as `fetchUsage` for an issuer that is not ours, of what validators saw alone. */
export async function fetchForeignUsage(
  sentinel: string,
  { iss, kid, hours }: { readonly iss: string; readonly kid?: string | undefined; readonly hours: number },
  signal?: AbortSignal,
): Promise<ForeignUsage> {
  const query = new URLSearchParams({ iss, ...(kid !== undefined && { kid }), hours: String(hours) })
  const response = await fetch(new URL(`/foreign/usage?${query}`, sentinel), {
    redirect: 'error',
    ...(signal && { signal }),
  })
  if (!response.ok) throw new Error(`the sentinel answered ${response.status}`)
  return (await response.json()) as ForeignUsage
}

/** An alert as it was raised (`isNew`), or one whose count has doubled. */
export interface AlertEvent {
  readonly alert: Alert
  readonly isNew: boolean
}

/**
 * Follows alerts as they are raised, from now on or after the one of that id. Ends when the connection does or `signal`
 * says so; throws when there is no sentinel.
 */
export async function* followAlerts(
  sentinel: string,
  { after, signal }: { readonly after?: number; readonly signal?: AbortSignal } = {},
): AsyncGenerator<AlertEvent> {
  const response = await fetch(new URL('/alerts/stream', sentinel), {
    headers: after === undefined ? {} : { 'last-event-id': String(after) },
    redirect: 'error',
    ...(signal && { signal }),
  })
  if (!response.ok || response.body === null) throw new Error(`the sentinel answered ${response.status}`)
  const parse = createEventParser(EVENT_CHARACTERS_MAX)
  try {
    for await (const piece of response.body.pipeThrough(new TextDecoderStream()))
      for (const { type, data } of parse(piece))
        yield { alert: JSON.parse(data) as Alert, isNew: type === 'alert' }
  } catch (error) {
    if (signal?.aborted !== true) throw error
  }
}

const EVENT_CHARACTERS_MAX = 64 * 1024
