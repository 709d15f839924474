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
import { fetchRotation } from '@countersign/authority/client'
import { startLoad, startSystem } from '@countersign/cli/client'
import { fetchAlerts } from '@countersign/sentinel/client'

const TURNS = 6
const charter = { rotation_seconds: '3s', cache_seconds: '1s', key_age_max: '60s', acknowledge_seconds: '5s' }

test('F5 F13 K2: keys take turns under load, and no grant fails and no valid token is refused', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'countersign-rotation-'))
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ charter }))
  const system = await startSystem(join(folder, 'data'), { args: ['--config', join(folder, 'config.json')] })
  t.after(async () => {
    await system.stop()
    rmSync(folder, { recursive: true, force: true })
  })
  const { sentinel, authority } = system.ready
  const load = startLoad(system.ready)
  t.after(load.stop)
  await load.until(({ kids }) => kids.consumer.size > TURNS && kids.enterprise.size > TURNS)
  await load.stop()
  const { grants, shown, failures, kids } = load
  t.diagnostic(
    `${grants} grants and ${shown} tokens shown over ${kids.consumer.size} and ${kids.enterprise.size} keys`,
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
