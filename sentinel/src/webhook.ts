/**
 * Delivers alerts to a webhook as Standard Webhooks (standardwebhooks.com) describes: `webhook-id`, which stays the
 * same over retries, `webhook-timestamp`, and `webhook-signature`, an HMAC over both and the body. Deliveries wait in
 * the database until they are taken, in order, however long the receiver is away. One that it refuses holds up no other.
 * @module
 */

import { createHmac } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { readPrivateFile } from '@countersign/validator/private-file'
import type { Alarm } from './alarm.ts'
import type { Alert } from './alert.ts'
import type { Database } from './store.ts'

export interface WebhookOptions {
  readonly database: Database
  readonly alarm: Alarm
  readonly url: string
  readonly secret: Uint8Array
  readonly onProblem: (problem: Error) => void
  /** Milliseconds since the epoch. */
  readonly now: () => number
}

export interface Webhook {
  /** Looks for deliveries now. */
  wake(): void
  stop(): Promise<void>
}

const ANSWER_MILLISECONDS_MAX = 5000
/** Says of the receiver, as other failures do, that it takes nothing now. Else 4xx is about the one alert. */
const notNow: readonly number[] = [408, 429]
const RETRY_MILLISECONDS = { first: 500, last: 300_000 } as const

/** Reads a secret as receivers are given it, `whsec_` and base64, from a file of mode 0600. */
export function readWebhookSecret(file: string): Uint8Array {
  const [, encoded = ''] = /^whsec_([A-Za-z0-9+/]+=*)$/.exec(readPrivateFile(file)) ?? []
  const secret = Buffer.from(encoded, 'base64')
  if (secret.length < 24) throw new Error(`${file} does not hold whsec_ and at least 24 bytes in base64`)
  return secret
}

export function createWebhook(options: WebhookOptions): Webhook {
  const { database, now, onProblem } = options
  const ending = new AbortController()
  let alarm = Promise.withResolvers<void>()
  /** When a receiver that is away is tried again. */
  let awayUntil = 0
  const running = run()

  async function run(): Promise<void> {
    while (!ending.signal.aborted) {
      const { promise: rung } = alarm
      const waitMilliseconds = await deliverDue().catch((error: Error) => {
        onProblem(error)
        return RETRY_MILLISECONDS.first
      })
      const woken = new AbortController()
      const signal = AbortSignal.any([ending.signal, woken.signal])
      await Promise.race([rung, delay(waitMilliseconds, undefined, { signal, ref: false }).catch(() => {})])
      woken.abort()
    }
  }

  /** Delivers what is due, oldest first, and says for how long nothing else is. */
  async function deliverDue(): Promise<number> {
    for (;;) {
      if (ending.signal.aborted) return 0
      if (awayUntil > now()) return awayUntil - now()
      const deliveries = database.selectFrom('deliveries').selectAll()
      const next = await deliveries.where('next_ms', '<=', now()).orderBy('alert_id').executeTakeFirst()
      if (next === undefined) {
        const later = await deliveries.orderBy('next_ms').executeTakeFirst()
        return later === undefined ? RETRY_MILLISECONDS.last : Math.max(0, later.next_ms - now())
      }
      const [alert] = await options.alarm.since(next.alert_id - 1)
      const outcome = alert === undefined ? 'taken' : await post(alert)
      const retryAt = now() + retryMilliseconds(next.attempts)
      if (outcome === 'away') awayUntil = retryAt
      if (outcome === 'taken')
        await database.deleteFrom('deliveries').where('alert_id', '=', next.alert_id).execute()
      else
        await database
          .updateTable('deliveries')
          .set({ attempts: next.attempts + 1, ...(outcome === 'refused' && { next_ms: retryAt }) })
          .where('alert_id', '=', next.alert_id)
          .execute()
    }
  }

  async function post(alert: Alert): Promise<'taken' | 'refused' | 'away'> {
    const id = `alert_${alert.id}`
    const timestamp = String(Math.floor(now() / 1000))
    const body = JSON.stringify({
      type: 'alert.raised',
      timestamp: new Date(alert.at).toISOString(),
      data: alert,
    })
    const signature = createHmac('sha256', options.secret)
      .update(`${id}.${timestamp}.${body}`)
      .digest('base64')
    try {
      const response = await fetch(options.url, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          'webhook-id': id,
          'webhook-timestamp': timestamp,
          'webhook-signature': `v1,${signature}`,
        },
        body,
        // Elsewhere is not where the alerts were meant to go.
        redirect: 'error',
        signal: AbortSignal.any([ending.signal, AbortSignal.timeout(ANSWER_MILLISECONDS_MAX)]),
      })
      await response.body?.cancel()
      const { ok, status } = response
      if (ok) return 'taken'
      onProblem(new Error(`the webhook answered ${status}`))
      return status >= 400 && status < 500 && !notNow.includes(status) ? 'refused' : 'away'
    } catch (error) {
      if (!ending.signal.aborted) onProblem(error as Error)
      return 'away'
    }
  }

  return {
    wake: () => {
      alarm.resolve()
      alarm = Promise.withResolvers()
    },
    stop: async () => {
      ending.abort()
      await running
    },
  }
}

function retryMilliseconds(attempts: number): number {
  return Math.min(RETRY_MILLISECONDS.last, RETRY_MILLISECONDS.first * 2 ** Math.min(attempts, 20))
}
