/**
 * Goal: what is stored about a person is of no use to whoever reads the file, and is asked in full. Method: known
 * answers, every byte changed in turn, and two tenants with people of the same name.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { tenants } from '@countersign/validator/testing'
import { TOTP } from 'otpauth'
import { hashPassword, verifyPassword } from './password.ts'
import { openPeople } from './people.ts'
import { openIssuerDatabase } from './schema.ts'
import { seal, unseal } from './seal.ts'
import { quietTransmitter } from './testing.ts'
import { matchTotp } from './totp.ts'

const secret = 'JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP'
const key = Buffer.alloc(32, 7)

test('a password is stored as argon2id at the cost that OWASP asks, salted, and verifies in either Unicode form', async () => {
  const stored = await hashPassword('pässwörd')
  assert.match(stored, /^\$argon2id\$v=19\$m=19456,t=2,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$/)
  assert.notEqual(await hashPassword('pässwörd'), stored)
  assert.equal(await verifyPassword('pässwörd'.normalize('NFD'), stored), true)
  assert.equal(await verifyPassword('passwort', stored), false)
})

test('a password stored at another cost, by the reference implementation, verifies', async () => {
  // From its test.c: t=2, m=256 KiB, p=1, "password", "somesalt".
  const stored = '$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4'
  assert.equal(await verifyPassword('password', stored), true)
  assert.equal(await verifyPassword('differentpassword', stored), false)
})

test('T184 nobody’s password is never right', async () => {
  for (const guess of ['', 'password', 'undefined'])
    assert.equal(await verifyPassword(guess, undefined), false)
})

test('T240 a sealed TOTP secret opens for its own person and key, unchanged, and nobody else', () => {
  const sealed = seal(secret, 'tenant/ada', key)
  assert.equal(unseal(sealed, 'tenant/ada', key), secret)
  assert.ok(!Buffer.from(sealed, 'base64url').includes(secret))
  assert.throws(() => unseal(sealed, 'tenant/ben', key))
  assert.throws(() => unseal(sealed, 'tenant/ada', Buffer.alloc(32, 8)))
  const bytes = Buffer.from(sealed, 'base64url')
  for (const at of bytes.keys()) {
    const changed = Buffer.from(bytes)
    changed[at] = (changed[at] ?? 0) ^ 1
    assert.throws(() => unseal(changed.toString('base64url'), 'tenant/ada', key))
  }
})

test('T240 a code stands for its own step, with one step of drift either way', () => {
  const now = 1_800_000_015
  const codeAt = (seconds: number): string => new TOTP({ secret }).generate({ timestamp: seconds * 1000 })
  const step = Math.floor(now / 30)
  for (const drift of [-1, 0, 1]) assert.equal(matchTotp(secret, codeAt(now + drift * 30), now), step + drift)
  for (const drift of [-2, 2, 20]) assert.equal(matchTotp(secret, codeAt(now + drift * 30), now), undefined)
  for (const odd of ['', '12345', '1234567', 'abcdef', ' 12345', '１２３４５６']) {
    assert.equal(matchTotp(secret, odd, now), undefined)
  }
})

test('T087 T190 people of two tenants are apart though everything but the tenant is the same', async () => {
  const database = await openIssuerDatabase(':memory:')
  const clock = { now: 1_800_000_000 }
  const [here, there] = [tenants.fabrikam, tenants.northwind].map((tenant) =>
    openPeople({
      database,
      tenant,
      totpKey: key,
      signals: quietTransmitter(database, tenant, () => clock.now),
      now: () => clock.now,
    }),
  )
  assert.ok(here && there)
  const ada = {
    tenant: '',
    username: 'Ada',
    sub: '00000000-0000-4000-8000-000000000000',
    totp_secret: secret,
  }
  await here.add({ ...ada, password: 'the one here' })
  await there.add({ ...ada, password: 'the one there' })
  assert.equal((await here.signIn('ada', 'the one here'))?.sub, ada.sub)
  assert.equal(await here.signIn('ada', 'the one there'), undefined)
  const code = new TOTP({ secret }).generate({ timestamp: clock.now * 1000 })
  assert.equal(await here.useTotp(ada.sub, code), true)
  assert.equal(await here.useTotp(ada.sub, code), false)
  assert.equal(await there.useTotp(ada.sub, code), true)
  await here.expel(ada.sub, { disabled: true })
  assert.equal(await here.find(ada.sub), undefined)
  assert.equal(await here.signIn('ada', 'the one here'), undefined)
  assert.ok(await there.find(ada.sub))
  await database.destroy()
})

test('a person who is in the seed again keeps the password that they have', async () => {
  const database = await openIssuerDatabase(':memory:')
  const people = openPeople({
    database,
    tenant: tenants.home,
    totpKey: key,
    signals: quietTransmitter(database, tenants.home, () => 0),
    now: () => 0,
  })
  await people.add({ tenant: tenants.home, username: 'ada', password: 'the first one' })
  await people.add({ tenant: tenants.home, username: 'ADA ', password: 'another one' })
  assert.ok(await people.signIn('ada', 'the first one'))
  assert.equal(await people.signIn('ada', 'another one'), undefined)
  await database.destroy()
})
