/**
 * Counts, in memory, which clients get tokens of which key, and tells the sentinel now and then: before a key is killed
 * somebody wants to know who will notice. Nothing is written for a grant, and nothing waits for it.
 * @module
 */

import { randomBytes } from 'node:crypto'
import type { Enrolment } from '@countersign/validator/enrolment'
import { readCompact } from '@countersign/validator/jws'
import {
  type ClientUsage,
  signUsage,
  USAGE_CLIENTS_MAX,
  type UsageReport,
} from '@countersign/validator/key-usage'

export interface Usage {
  /** Counts a token that was issued to a client. */
  count(token: string, tenant: string, client: string): void
  /** Reports what is counted, once, and ends. */
  stop(): Promise<void>
}

export interface UsageOptions {
  /** URL of the sentinel. */
  readonly sentinel: string
  readonly enrolment: Enrolment
  /** Seconds since the epoch. */
  readonly now: () => number
  readonly onProblem: (problem: Error) => void
}

/** The first token after a quiet time is told of so soon, and as often as that it is told at most. */
const REPORT_MILLISECONDS = 1000
const RETRY_MILLISECONDS = 5000
const DELIVERY_MILLISECONDS_MAX = 1000

export function createUsage({ sentinel, enrolment, now, onProblem }: UsageOptions): Usage {
  const url = new URL('/usage', sentinel)
  let counted = new Map<string, ClientUsage>()
  /** Sent and not yet taken: it keeps its id until it is. */
  let unsent: Omit<UsageReport, 'validator' | 'issuedAt'> | undefined
  let timer: NodeJS.Timeout | undefined
  let sending: Promise<void> | undefined
  let isStopped = false

  function schedule(milliseconds: number): void {
    if (!isStopped) timer ??= setTimeout(() => void report(), milliseconds).unref()
  }

  async function report(): Promise<void> {
    clearTimeout(timer)
    timer = undefined
    sending ??= send().then(
      () => {
        sending = undefined
        if (counted.size > 0) schedule(REPORT_MILLISECONDS)
      },
      (error: Error) => {
        sending = undefined
        onProblem(error)
        schedule(RETRY_MILLISECONDS)
      },
    )
    await sending
  }

  async function send(): Promise<void> {
    if (unsent === undefined) {
      if (counted.size === 0) return
      unsent = { id: randomBytes(16).toString('base64url'), clients: [...counted.values()] }
      counted = new Map()
    }
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/jwt' },
      body: signUsage({ ...unsent, issuedAt: Math.floor(now()) }, enrolment),
      redirect: 'error',
      signal: AbortSignal.timeout(DELIVERY_MILLISECONDS_MAX),
    })
    await response.arrayBuffer()
    if (!response.ok && response.status !== 400) throw new Error(`the sentinel answered ${response.status}`)
    unsent = undefined
  }

  return {
    count: (token, tenant, client) => {
      const kid = String(readCompact(token).header['kid'])
      const name = JSON.stringify([kid, tenant, client])
      const before = counted.get(name)
      // Whoever has more clients than one report holds learns of the first; each stays in what is told next.
      if (before === undefined && counted.size >= USAGE_CLIENTS_MAX) return
      counted.set(name, { kid, client, tenant, tokens: (before?.tokens ?? 0) + 1, lastIssuedAt: now() })
      schedule(REPORT_MILLISECONDS)
    },
    stop: async () => {
      isStopped = true
      clearTimeout(timer)
      await sending
      await report()
    },
  }
}
