/**
 * Clients that never pause for long: they get tokens and show each to the gateway at once, as early as a validator could be
 * behind, and again later, when its key may have retired.
 * @module
 */

import { setTimeout as delay } from 'node:timers/promises'
import { readCompact } from '@countersign/validator/jws'
import type { System } from './ready.ts'
import { type Realm, realms } from './world.ts'

export interface Load {
  readonly grants: number
  readonly shown: number
  /** What failed or was refused, in words, in order. */
  readonly failures: readonly string[]
  /** The keys that have signed for each realm. */
  readonly kids: Readonly<Record<Realm, ReadonlySet<string>>>
  /** Settles once this is so, asked after each token. */
  until(isReached: (load: Load) => boolean): Promise<void>
  stop(): Promise<void>
}

const CLIENTS_PER_REALM = 2
const PAUSE_MILLISECONDS = 20
/** As many old tokens as each client shows again and again. */
const TOKENS_KEPT = 50

/** Starts the clients of a running system, of some of its realms or all. */
export function startLoad(
  { realms: sample, gateway }: Pick<System, 'realms' | 'gateway'>,
  among: readonly Realm[] = realms,
): Load {
  const kids = { consumer: new Set<string>(), enterprise: new Set<string>() }
  const failures: string[] = []
  const waiting = new Set<() => void>()
  const ending = new AbortController()
  let grants = 0
  let shown = 0

  async function grant(realm: Realm): Promise<string | undefined> {
    const issuer = realm === 'consumer' ? sample.consumer.issuer : sample.enterprise.issuers[0]?.issuer
    const client = sample[realm].clients.find(({ grant_types }) => grant_types.includes('client_credentials'))
    grants++
    const response = await fetch(`${issuer}/token`, {
      method: 'POST',
      headers: { authorization: `Basic ${btoa(`${client?.client_id}:${client?.client_secret}`)}` },
      body: new URLSearchParams({ grant_type: 'client_credentials', resource: gateway.audience }),
    })
    const { access_token: token, error } = (await response.json()) as {
      access_token?: string
      error?: string
    }
    if (token === undefined) failures.push(`no token: ${response.status} ${error}`)
    return token
  }

  async function show(token: string, when: string): Promise<void> {
    shown++
    const response = await fetch(`${gateway.url}/auth`, { headers: { authorization: `Bearer ${token}` } })
    await response.arrayBuffer()
    if (response.status === 200) return
    failures.push(`refused ${when}: ${response.status} ${response.headers.get('x-countersign-reason')}`)
  }

  async function work(realm: Realm): Promise<void> {
    const kept: string[] = []
    while (!ending.signal.aborted) {
      try {
        const token = await grant(realm)
        if (token !== undefined) {
          kids[realm].add(readCompact(token).header.kid ?? '')
          await show(token, 'at once')
          kept.push(token)
          if (kept.length > TOKENS_KEPT) kept.splice(Math.floor(Math.random() * kept.length), 1)
          await show(kept[Math.floor(Math.random() * kept.length)] as string, 'later')
        }
      } catch (error) {
        failures.push((error as Error).message)
      }
      for (const look of waiting) look()
      await delay(PAUSE_MILLISECONDS)
    }
  }

  const working = among.flatMap((realm) => Array.from({ length: CLIENTS_PER_REALM }, () => work(realm)))
  const load: Load = {
    get grants() {
      return grants
    },
    get shown() {
      return shown
    },
    failures,
    kids,
    until: (isReached) =>
      new Promise((resolve) => {
        const look = (): void => {
          if (!isReached(load)) return
          waiting.delete(look)
          resolve()
        }
        waiting.add(look)
      }),
    stop: async () => {
      ending.abort()
      await Promise.all(working)
    },
  }
  return load
}
