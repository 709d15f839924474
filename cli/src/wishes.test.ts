/**
 * Goal: a start goes by what was approved, and by nothing that was only wished for or proposed. Method: a folder's files as starts and
 * proposals leave them, beside a charter in force that the test makes up.
 */

import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import type { JsonObject } from '@countersign/validator/json'
import { type Wishes, wishesSchema } from './config.ts'
import { rulesOf } from './rules.ts'
import { chooseWishes, keepProposed, keepWishes, keptWishes } from './wishes.ts'
import { planWorld } from './world.ts'

const folder = mkdtempSync(join(tmpdir(), 'countersign-wishes-'))
after(() => rmSync(folder, { recursive: true }))

const issuers = { consumer: 'http://localhost:8400', enterprise: 'http://localhost:8401/{tenantid}/v2.0' }
const before = wishesSchema.parse({ sentinel: { retention_days: 7 } })
const partner = { issuer: 'https://login.partner.example', tenants: ['55555555-5555-4555-8555-555555555555'] }
const proposed = wishesSchema.parse({ elsewhere: { partner } })

function charterOf(wishes: Wishes): JsonObject {
  return { realms: rulesOf(issuers, planWorld(wishes)) }
}

/** A folder that was started by `before`, and in which something was proposed since. */
async function start(
  name: string,
  inForce: Wishes,
  change: (data: string) => string | undefined = () => undefined,
) {
  const data = join(folder, name)
  keepWishes(data, before)
  keepProposed(data, proposed)
  const file = change(data)
  const said: string[] = []
  let asked = 0
  const wishes = await chooseWishes({ data, issuers }, file, {
    first: charterOf({}),
    newest: async () => {
      asked++
      return charterOf(inForce)
    },
    say: (line) => said.push(line),
  })
  const waits = existsSync(join(data, 'config', 'proposed.json'))
  return { wishes, said: said.join(), asked, kept: keptWishes(data), waits }
}

test('what was proposed counts once it is approved, at that start and after', async () => {
  const { wishes, said, kept, waits } = await start('approved', proposed)
  assert.deepEqual([wishes, kept, waits], [proposed, proposed, false])
  assert.match(said, /has been approved/)
})

test('until then a start goes by the one before, and after its time it is given up', async () => {
  const pending = await start('pending', {})
  assert.deepEqual([pending.wishes, pending.waits], [before, true])
  assert.match(pending.said, /not been approved yet/)
  const old = await start('old', {}, (data) => {
    const anHourAgo = Date.now() / 1000 - 3600
    utimesSync(join(data, 'config', 'proposed.json'), anHourAgo, anHourAgo)
    return undefined
  })
  assert.deepEqual([old.wishes, old.waits], [before, false])
  assert.match(old.said, /given up/)
})

test('a file that is given comes first, is refused where nobody has approved it, and asks nobody where the first charter is enough', async () => {
  const given = (wishes: object) => (data: string) => {
    const file = join(data, 'given.json')
    writeFileSync(file, JSON.stringify(wishes))
    return file
  }
  const fits = await start('fits', {}, given({ sentinel: { retention_days: 9 } }))
  assert.deepEqual([fits.wishes.sentinel?.retention_days, fits.asked, fits.waits], [9, 0, false])
  await assert.rejects(start('unfit', {}, given({ elsewhere: { partner } })), {
    message: /has no realm partner: it changes by approval.*charter propose --config FILE/,
  })
  await assert.rejects(start('other', {}, given({ charter: { max_ttl: 900 } })), {
    message: /has for consumer as max_ttl 3600, not 900/,
  })
})
