/**
 * Goal: rotation needs nobody and costs nothing: while keys take turns, every grant succeeds and every valid token is
 * accepted everywhere. Method: the whole system with turns of seconds instead of a day, under constant load; each token is
 * shown at once, as early as a validator could be behind, and again later, when its key retires.
 */

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { fetchRotation } from '@countersign/authority/client'
import { startSystem } from '@countersign/cli/client'
import { fetchAlerts } from '@countersign/sentinel/client'
import { decodeProtectedHeader } from 'jose'

const TURNS = 6
const WORKERS_PER_REALM = 2
const PAUSE_MILLISECONDS = 20
/** As many old tokens as each worker shows again and again. */
const TOKENS_KEPT = 50
const charter = { rotation_seconds: '3s', cache_seconds: '1s', key_age_max: '60s', acknowledge_seconds: '5s' }

test('F5 F13 K2: keys take turns under load, and no grant fails and no valid token is refused', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'countersign-rotation-'))
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ charter }))
  const system = await startSystem(join(folder, 'data'), { args: ['--config', join(folder, 'config.json')] })
  t.after(async () => {
    await system.stop()
    rmSync(folder, { recursive: true, force: true })
  })
  const { realms, gateway, sentinel, authority } = system.ready
  const issuers = {
    consumer: realms.consumer.issuer,
    enterprise: realms.enterprise.issuers[0]?.issuer ?? '',
  }
  const names = ['consumer', 'enterprise'] as const
  const kids = { consumer: new Set<string>(), enterprise: new Set<string>() }
  const failures: string[] = []
  const counts = { grants: 0, shown: 0 }

  async function grant(realm: (typeof names)[number]): Promise<string | undefined> {
    const client = realms[realm].clients.find(({ grant_types }) => grant_types.includes('client_credentials'))
    const response = await fetch(`${issuers[realm]}/token`, {
      method: 'POST',
      headers: { authorization: `Basic ${btoa(`${client?.client_id}:${client?.client_secret}`)}` },
      body: new URLSearchParams({ grant_type: 'client_credentials', resource: gateway.audience }),
    })
    counts.grants++
    const body = (await response.json()) as { access_token?: string }
    if (body.access_token === undefined) failures.push(`grant: ${response.status} ${JSON.stringify(body)}`)
    return body.access_token
  }

  async function show(token: string, when: string): Promise<void> {
    const response = await fetch(`${gateway.url}/auth`, { headers: { authorization: `Bearer ${token}` } })
    counts.shown++
    await response.arrayBuffer()
    if (response.status === 200) return
    failures.push(`${when}: ${response.status} ${response.headers.get('x-countersign-reason')}`)
  }

  async function work(realm: (typeof names)[number]): Promise<void> {
    const kept: string[] = []
    while (names.some((name) => kids[name].size <= TURNS)) {
      const token = await grant(realm)
      if (token !== undefined) {
        kids[realm].add(String(decodeProtectedHeader(token).kid))
        await show(token, 'at once')
        kept.push(token)
        if (kept.length > TOKENS_KEPT) kept.splice(Math.floor(Math.random() * kept.length), 1)
        await show(kept[Math.floor(Math.random() * kept.length)] as string, 'later')
      }
      await delay(PAUSE_MILLISECONDS)
    }
  }

  await Promise.all(names.flatMap((realm) => Array.from({ length: WORKERS_PER_REALM }, () => work(realm))))
  t.diagnostic(
    `${counts.grants} grants and ${counts.shown} tokens shown over ${kids.consumer.size} and ${kids.enterprise.size} keys`,
  )
  assert.deepEqual(failures, [])
  const { slots } = await fetchRotation(authority.url)
  assert.deepEqual(
    slots.map(({ active, overdue }) => [typeof active, overdue]),
    slots.map(() => ['string', []]),
  )
  const alerts = (await fetchAlerts(sentinel.url)).map(({ rule, reason }) => `${rule} ${reason}`)
  assert.deepEqual(alerts, [])
})
