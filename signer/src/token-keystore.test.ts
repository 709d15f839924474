/**
 * Goal: keys in a token sign as keys in a file do, cannot be read, and whatever happens to the token, whoever looks after it
 * is told what to do and no PIN is tried twice. Method: SoftHSM2, set up in a temporary folder, with a layer between that
 * counts what is called and gives the errors that a soft token never would.
 */

import assert from 'node:assert/strict'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { importPublicJwk, verifySignature } from '@countersign/validator/jws'
import pkcs11js from 'pkcs11js'
import { CKR, type Cryptoki, loadModule } from './cryptoki.ts'
import { makeKey } from './generate.ts'
import type { HeldKey, Keystore } from './keystore.ts'
import { createKeystore, type KeystorePlace, openKeystore } from './keystores.ts'
import { readPin } from './passphrase.ts'
import { destroySigner } from './signer.ts'
import { createSoftToken, missingSoftHsm } from './softhsm.ts'
import { openTestSigner, scopeRequest } from './testing.ts'
import { Token } from './token.ts'
import { parseTokenUri } from './token-uri.ts'

const skip = missingSoftHsm() ?? false
const folder = mkdtempSync(join(tmpdir(), 'countersign-token-'))
after(() => rmSync(folder, { recursive: true }))
const token = skip === false ? await createSoftToken(folder) : undefined
const uri = token?.uri ?? ''
process.env['SOFTHSM2_CONF'] = token?.environment['SOFTHSM2_CONF']

/** A real module whose answers the test can change, and which counts its calls. */
interface Layer {
  readonly calls: Record<string, number>
  /** Thrown by the functions that it names. */
  fault: { readonly functions: readonly string[]; readonly value: number; times?: number } | undefined
  /** Or'd to the flags of every token. */
  flags: number
  load(path: string): Promise<Cryptoki>
}

function createLayer(): Layer {
  const layer: Layer = {
    calls: {},
    fault: undefined,
    flags: 0,
    load: async (path) => {
      const module = await loadModule(path)
      return new Proxy(module, {
        get: (target, name: keyof Cryptoki) => {
          const real = target[name] as unknown
          if (typeof real !== 'function') return real
          return (...args: unknown[]) => {
            layer.calls[name] = (layer.calls[name] ?? 0) + 1
            const { fault } = layer
            if (fault?.functions.includes(name) === true && (fault.times ?? 1) > 0) {
              if (fault.times !== undefined) fault.times--
              throw new pkcs11js.Pkcs11Error('CKR_OF_THE_TEST', fault.value)
            }
            const result = real.apply(target, args)
            if (name === 'C_GetTokenInfo') result.flags |= layer.flags
            return result
          }
        },
      })
    },
  }
  return layer
}

interface TestPlace extends KeystorePlace {
  readonly layer: Layer
  milliseconds: number
}

let count = 0

/** A folder of its own, on the token of this file. */
function newPlace(change: Partial<KeystorePlace> = {}): TestPlace {
  const own = join(folder, `signer-${++count}`)
  mkdirSync(own)
  const pinFile = join(own, 'pin')
  writeFileSync(pinFile, readFileSync(token?.pinFile ?? '', 'utf8'), { mode: 0o600 })
  const layer = createLayer()
  const place: TestPlace = {
    realm: 'consumer',
    keystore: uri.replace('?', `;object=keys-${count}?`),
    folder: own,
    secret: readPin(pinFile),
    load: layer.load,
    monotonic: () => place.milliseconds,
    milliseconds: 0,
    layer,
    ...change,
  }
  return place
}

async function withKeystore(
  use: (keystore: Keystore, place: TestPlace) => Promise<void>,
  place = newPlace(),
): Promise<void> {
  const keystore = await createKeystore(place)
  try {
    await use(keystore, place)
  } finally {
    place.layer.fault = undefined
    await keystore.close()
  }
}

function make(keystore: Keystore, alg = 'ES256', prepare = async (): Promise<void> => {}): Promise<HeldKey> {
  const making = { realm: 'consumer', keystore, charter: undefined, now: 1000, prepare }
  return makeKey({ ...scopeRequest, alg }, making)
}

async function verifies({
  algorithm,
  jwk,
  sign,
}: Pick<HeldKey, 'algorithm' | 'jwk' | 'sign'>): Promise<boolean> {
  return verifySignature(algorithm, importPublicJwk(jwk).key, 'input', await sign('input'))
}

async function codeOf(attempt: Promise<unknown>): Promise<string> {
  return attempt.then(
    () => 'done',
    ({ name, code, message }: { name: string; code: string; message: string }) => {
      assert.equal(name, 'TokenFault', message)
      assert.ok(message.length > 20)
      return code
    },
  )
}

test('K1 K10: keys of each algorithm that the token offers are made in it, found again, and sign', {
  skip,
}, async () => {
  const place = newPlace()
  await withKeystore(async (keystore) => {
    assert.equal(keystore.protection, 'hardware')
    assert.ok(await verifies(keystore.identity))
    const made: HeldKey[] = []
    for (const alg of ['ES256', 'EdDSA', 'RS256', 'PS256']) made.push(await make(keystore, alg))
    assert.equal(await codeOf(make(keystore, 'ML-DSA-44')), 'mechanism_missing')
    await keystore.close()
    const opened = await openKeystore(place)
    assert.deepEqual(
      opened.keys.map(({ kid, attestation }) => [kid, attestation]),
      made.map(({ kid, attestation }) => [kid, attestation]),
    )
    for (const key of opened.keys) assert.ok(await verifies(key), key.algorithm)
    const rsa = opened.keys.find(({ algorithm }) => algorithm === 'RS256')
    assert.equal(Buffer.from(rsa?.jwk.n ?? '', 'base64url').length, 256)
    await opened.close()
  }, place)
})

test('where the token offers no Ed25519, the identity key is ES256', { skip }, async () => {
  const place = newPlace()
  const { load } = place.layer
  const without = async (path: string): Promise<Cryptoki> => {
    const module = await load(path)
    return new Proxy(module, {
      get: (target, name: keyof Cryptoki) =>
        name === 'C_GetMechanismList'
          ? (slot: Buffer) => target.C_GetMechanismList(slot).filter((mechanism) => mechanism !== 0x1057)
          : target[name],
    })
  }
  await withKeystore(
    async (keystore) => {
      assert.equal(keystore.identity.algorithm, 'ES256')
      assert.ok(await make(keystore))
      assert.equal(await codeOf(make(keystore, 'EdDSA')), 'mechanism_missing')
    },
    { ...place, load: without },
  )
})

test('K1 K9: no private key can be read from the token, nor wrapped, nor made readable', {
  skip,
}, async () => {
  const place = newPlace()
  await withKeystore(async (keystore) => {
    for (const alg of ['ES256', 'EdDSA', 'RS256']) await make(keystore, alg)
  }, place)
  const module = new pkcs11js.PKCS11()
  module.load(token?.modulePath ?? '')
  const opened = new Token(module as unknown as Cryptoki, parseTokenUri(place.keystore), {
    value: place.secret.value,
    wasRefused: () => false,
    rememberRefusal: () => {},
  })
  const { session } = opened
  module.C_FindObjectsInit(session, [{ type: pkcs11js.CKA_CLASS, value: pkcs11js.CKO_PRIVATE_KEY }])
  const keys = module.C_FindObjects(session, 1000)
  module.C_FindObjectsFinal(session)
  assert.ok(keys.length >= 4)
  const wrapping = module.C_GenerateKey(session, { mechanism: pkcs11js.CKM_AES_KEY_GEN }, [
    { type: pkcs11js.CKA_TOKEN, value: false },
    { type: pkcs11js.CKA_VALUE_LEN, value: 32 },
    { type: pkcs11js.CKA_WRAP, value: true },
  ])
  for (const key of keys) {
    const secrets = [pkcs11js.CKA_VALUE, pkcs11js.CKA_PRIVATE_EXPONENT, pkcs11js.CKA_PRIME_1]
    for (const type of secrets)
      assert.throws(
        () => module.C_GetAttributeValue(session, key, [{ type }]),
        /CKR_ATTRIBUTE_SENSITIVE|CKR_ATTRIBUTE_TYPE_INVALID/,
      )
    assert.throws(
      () =>
        module.C_WrapKey(
          session,
          { mechanism: pkcs11js.CKM_AES_KEY_WRAP_PAD },
          wrapping,
          key,
          Buffer.alloc(4096),
        ),
      /CKR_KEY_UNEXTRACTABLE/,
    )
    for (const [type, value] of [
      [pkcs11js.CKA_EXTRACTABLE, true],
      [pkcs11js.CKA_SENSITIVE, false],
    ] as const)
      assert.throws(() => module.C_SetAttributeValue(session, key, [{ type, value }]), /CKR_/)
  }
  // Of one kind of key at least, it is the private value itself that was asked for and withheld.
  const reasons = keys.map((key) => {
    try {
      return module.C_GetAttributeValue(session, key, [{ type: pkcs11js.CKA_VALUE }]).length
    } catch (error) {
      return (error as { code: number }).code
    }
  })
  assert.ok(reasons.includes(CKR.attributeSensitive))
  await opened.close()
})

test('K12: a key is looked for once, when the token is opened, and signs by its handle ever after', {
  skip,
}, async () => {
  await withKeystore(async (keystore, { layer }) => {
    const { sign } = await make(keystore)
    const before = { ...layer.calls }
    for (let n = 0; n < 100; n++) await sign(`input ${n}`)
    assert.equal(layer.calls['C_Sign'], (before['C_Sign'] ?? 0) + 100)
    for (const name of ['C_FindObjectsInit', 'C_Login', 'C_OpenSession', 'C_GetAttributeValue'])
      assert.equal(layer.calls[name], before[name], name)
  })
})

test('a token that takes its time signs on other threads, several at once, each what it was asked', {
  skip,
}, async () => {
  const layer = createLayer()
  const place = newPlace()
  await withKeystore(async (keystore) => void (await make(keystore)), place)
  const module = await layer.load(token?.modulePath ?? '')
  const pin = { value: place.secret.value, wasRefused: () => false, rememberRefusal: () => {} }
  const opened = new Token(module, parseTokenUri(place.keystore), pin)
  const { findPrivateKey, signOn } = await import('./token-keys.ts')
  const { label, keys } = JSON.parse(readFileSync(join(place.folder, 'token.json'), 'utf8'))
  const handle = findPrivateKey(opened, { id: Buffer.from(keys[0].id, 'hex'), label })
  opened.measured(10)
  const inputs = Array.from({ length: 200 }, (_, n) => `input ${n}`)
  const signatures = await Promise.all(inputs.map((input) => signOn(opened, handle, 'ES256', input)))
  const { key } = importPublicJwk(keys[0].jwk)
  for (const [n, signature] of signatures.entries())
    assert.ok(verifySignature('ES256', key, inputs[n] as string, signature))
  assert.equal(layer.calls['C_SignAsync'], 200)
  assert.ok((layer.calls['C_OpenSession'] as number) <= 9)
  await opened.close()
})

test('T144 K8 F6: a signer on a token counts, remembers and destroys as on a file', { skip }, async () => {
  const place = newPlace()
  const signer = await openTestSigner({ keystore: place.keystore, secret: place.secret })
  try {
    await signer.issue()
    await signer.crash()
    await signer.bringTrust()
    await signer.issue()
    assert.equal(signer.signer.counters().keys[0]?.signed, 2)
    const ended = await signer.addKey('EdDSA')
    await signer.issue({ alg: 'EdDSA' })
    signer.world.setState(ended, 'revoked')
    await signer.bringTrust()
    assert.deepEqual(signer.signer.describe().keys, [signer.kid])
    await signer.signer.stop()
    assert.deepEqual(await privateKeysOn(place), ['identity', 'key'])
  } finally {
    await signer.remove().catch(() => {})
  }
})

/** What a look at the token itself finds of the keystore in this folder's records. */
async function privateKeysOn(place: TestPlace): Promise<readonly string[]> {
  const module = await loadModule(token?.modulePath ?? '')
  const pin = { value: place.secret.value, wasRefused: () => false, rememberRefusal: () => {} }
  const opened = new Token(module, parseTokenUri(place.keystore), pin)
  const { session } = opened
  const object = parseTokenUri(place.keystore).object as string
  const real = module as unknown as InstanceType<typeof pkcs11js.PKCS11>
  real.C_FindObjectsInit(session, [{ type: pkcs11js.CKA_CLASS, value: pkcs11js.CKO_PRIVATE_KEY }])
  const keys = real.C_FindObjects(session, 1000)
  real.C_FindObjectsFinal(session)
  const found = keys
    .map((key) =>
      real
        .C_GetAttributeValue(session, key, [{ type: pkcs11js.CKA_LABEL }, { type: pkcs11js.CKA_ID }])
        .map(({ value }) => value as Buffer),
    )
    .filter(([label]) => String(label).startsWith(`${object} `))
    .map(([label, id]) =>
      String(label) === `${object} ${id?.toString('hex').slice(0, 8)}` ? 'identity' : 'key',
    )
  await opened.close()
  return found.sort()
}

test('a key that its making could not be finished for is not left on the token', { skip }, async () => {
  const place = newPlace()
  await withKeystore(async (keystore) => {
    await assert.rejects(
      make(keystore, 'ES256', () => Promise.reject(new Error('the disk is full'))),
      /disk is full/,
    )
    assert.deepEqual(keystore.keys, [])
  }, place)
  assert.deepEqual(await privateKeysOn(place), ['identity'])
})

test('a crash while a key is made or destroyed leaves nothing on the token that nobody knows of', {
  skip,
}, async () => {
  const place = newPlace()
  const record = join(place.folder, 'token.json')
  let before = ''
  let between = ''
  await withKeystore(async (keystore) => {
    const { kid } = await make(keystore, 'ES256', async () => {
      between = readFileSync(record, 'utf8')
    })
    before = readFileSync(record, 'utf8')
    place.layer.fault = { functions: ['C_DestroyObject'], value: CKR.deviceRemoved }
    await keystore.destroy(new Set([kid]))
  }, place)
  const destroying = readFileSync(record, 'utf8')
  assert.notEqual(destroying, before)
  assert.deepEqual(await privateKeysOn(place), ['identity', 'key'])
  for (const left of [between, destroying]) {
    writeFileSync(record, left)
    const opened = await openKeystore(place)
    assert.deepEqual(opened.keys, [])
    await opened.close()
    assert.deepEqual(await privateKeysOn(place), ['identity'])
  }
})

test('an init that was cut short is taken up again; a whole keystore is never overwritten', {
  skip,
}, async () => {
  const place = newPlace()
  place.layer.fault = { functions: ['C_GenerateKeyPair', 'C_FindObjectsInit'], value: CKR.deviceRemoved }
  await assert.rejects(createKeystore(place))
  place.layer.fault = undefined
  await withKeystore(async () => {
    await assert.rejects(createKeystore(place), { name: 'SignerFault', message: /never overwritten/ })
  }, place)
})

test('a folder that is an old copy, or a token without the keys, is refused and nothing is destroyed', {
  skip,
}, async () => {
  const place = newPlace()
  const copy = join(place.folder, 'copy.json')
  const record = join(place.folder, 'token.json')
  await withKeystore(async (keystore) => {
    cpSync(record, copy)
    await make(keystore)
  }, place)
  const newest = readFileSync(record)
  cpSync(copy, record)
  assert.equal(await codeOf(openKeystore(place)), 'keystore_outdated')
  assert.deepEqual(await privateKeysOn(place), ['identity', 'key'])
  writeFileSync(record, newest)
  assert.equal(await destroySigner(place), 0)
  assert.deepEqual(await privateKeysOn(place), [])
  writeFileSync(record, newest)
  assert.equal(await codeOf(openKeystore(place)), 'key_missing')
})

test('T224: a token that goes away while it signs fails those signatures alone, and when it is back the next ones come', {
  skip,
}, async () => {
  await withKeystore(async (keystore, place) => {
    const key = await make(keystore)
    for (const value of [CKR.deviceRemoved, CKR.tokenNotPresent, CKR.deviceError, CKR.generalError]) {
      place.layer.fault = { functions: ['C_SignInit', 'C_OpenSession', 'C_GetSlotList'], value }
      assert.equal(await codeOf(Promise.resolve().then(() => key.sign('input'))), 'token_removed')
      assert.equal(keystore.problem?.code, 'token_removed')
      assert.equal(keystore.problem?.retryable, true)
      const looked = place.layer.calls['C_Initialize'] ?? 0
      for (let n = 0; n < 20; n++) assert.equal(keystore.problem?.code, 'token_removed')
      assert.equal(
        place.layer.calls['C_Initialize'],
        looked,
        'it is looked for once a second, not for each request',
      )
      place.layer.fault = undefined
      place.milliseconds += 1001
      assert.ok(await verifies(key))
      assert.equal(keystore.problem, undefined)
    }
  })
})

test('T224: a session that was closed for idling costs no signature', { skip }, async () => {
  await withKeystore(async (keystore, { layer }) => {
    const key = await make(keystore)
    for (const value of [
      CKR.sessionClosed,
      CKR.sessionHandleInvalid,
      CKR.userNotLoggedIn,
      CKR.keyHandleInvalid,
    ]) {
      layer.fault = { functions: ['C_SignInit'], value, times: 1 }
      assert.ok(await verifies(key))
    }
  })
})

test('the files of a soft token pulled out from under a signer are missed, and found when they are back', {
  skip,
}, async () => {
  const place = newPlace()
  const signer = await openTestSigner({
    keystore: place.keystore,
    secret: place.secret,
    load: place.layer.load,
  })
  const away = `${token?.tokenFolder}-away`
  try {
    const prepared = await signer.prepare()
    const receipt = signer.receipt(prepared)
    renameSync(token?.tokenFolder ?? '', away)
    mkdirSync(token?.tokenFolder ?? '')
    // SoftHSM itself goes on from memory, so its first error has to be helped along.
    place.layer.fault = { functions: ['C_SignInit'], value: CKR.deviceRemoved, times: 1 }
    const answer = await signer.sign(prepared, receipt)
    assert.equal('error' in answer && answer.error.code, 'token_removed')
    await assert.rejects(signer.prepare(), { name: 'LineError', code: 'token_removed' })
    rmSync(token?.tokenFolder ?? '', { recursive: true })
    renameSync(away, token?.tokenFolder ?? '')
    signer.milliseconds += 1001
    // The first request finds it gone and has it looked for; the next is served.
    await signer.prepare().catch(() => {})
    await new Promise((resolve) => setImmediate(resolve))
    assert.match(await signer.issue(), /^\S+\.\S+\.\S+$/)
  } finally {
    await signer.remove()
  }
})

test('K1: a PIN that was refused is tried once, and never again until its file is written anew', {
  skip,
}, async () => {
  const place = newPlace()
  await withKeystore(async () => {}, place)
  const pinFile = join(place.folder, 'pin')
  const right = readFileSync(pinFile, 'utf8')
  writeFileSync(pinFile, '00000000')
  const wrong = { ...place, secret: readPin(pinFile) }
  place.layer.calls['C_Login'] = 0
  assert.equal(await codeOf(openKeystore(wrong)), 'pin_wrong')
  for (let n = 0; n < 5; n++) assert.equal(await codeOf(openKeystore(wrong)), 'pin_refused_before')
  assert.equal(place.layer.calls['C_Login'], 1)
  writeFileSync(pinFile, right)
  const opened = await openKeystore({ ...place, secret: readPin(pinFile) })
  await opened.close()
})

test('a PIN that is locked, or whose next refusal would lock it, is not tried', { skip }, async () => {
  const place = newPlace()
  await withKeystore(async () => {}, place)
  place.layer.calls['C_Login'] = 0
  for (const [flags, code] of [
    [0x40000, 'pin_locked'],
    [0x20000, 'pin_last_try'],
  ] as const) {
    place.layer.flags = flags
    assert.equal(await codeOf(openKeystore(place)), code)
  }
  assert.equal(place.layer.calls['C_Login'], 0)
  place.layer.flags = 0
  place.layer.fault = { functions: ['C_Login'], value: CKR.pinLocked, times: 1 }
  assert.equal(await codeOf(openKeystore(place)), 'pin_locked')
})

test('T224: each thing that can be wrong with a token or its URI has a name of its own', {
  skip,
}, async () => {
  const place = newPlace()
  await withKeystore(async () => {}, place)
  const at = (keystore: string): Promise<string> => codeOf(openKeystore({ ...place, keystore }))
  const { modulePath } = token ?? { modulePath: '' }
  assert.equal(await at(`pkcs11:token=nobody?module-path=${modulePath}`), 'token_missing')
  assert.equal(await at('pkcs11:token=countersign?module-path=/nowhere/module.so'), 'module_missing')
  assert.equal(
    await at(`pkcs11:token=countersign?module-path=${join(place.folder, 'pin')}`),
    'module_missing',
  )
  assert.equal(await at(`pkcs11:slot-id=999999?module-path=${modulePath}`), 'token_missing')
  for (const [functions, value, code] of [
    [['C_Initialize'], CKR.generalError, 'module_failed'],
    [['C_OpenSession'], CKR.sessionCount, 'session_limit'],
  ] as const) {
    place.layer.fault = { functions, value, times: 1 }
    assert.equal(await codeOf(openKeystore(place)), code)
  }
  place.layer.fault = undefined
  const opened = await openKeystore(place)
  place.layer.fault = { functions: ['C_GenerateKeyPair'], value: CKR.deviceMemory, times: 1 }
  assert.equal(await codeOf(make(opened)), 'token_full')
  await opened.close()

  const twin = await createSoftToken(folder)
  assert.equal(await at(place.keystore), 'token_ambiguous')
  const { serial } = JSON.parse(readFileSync(join(place.folder, 'token.json'), 'utf8'))
  const named = await openKeystore({ ...place, keystore: place.keystore.replace(';', `;serial=${serial};`) })
  await named.close()
  await createSoftToken(folder, 'another')
  writeFileSync(join(place.folder, 'other-pin'), readFileSync(join(folder, 'another.pin')), { mode: 0o600 })
  const other = { ...place, secret: readPin(join(place.folder, 'other-pin')) }
  assert.equal(
    await codeOf(openKeystore({ ...other, keystore: twin.uri.replace('countersign', 'another') })),
    'token_replaced',
  )
})

test('T223: the URI of a token is read strictly, and a PIN in it is refused without being repeated', () => {
  const good = 'pkcs11:token=The%20token;serial=12;object=a%20b?module-path=/lib/m.so'
  assert.deepEqual(parseTokenUri(good), {
    modulePath: '/lib/m.so',
    token: 'The token',
    serial: '12',
    slotId: undefined,
    manufacturer: undefined,
    model: undefined,
    object: 'a b',
  })
  for (const bad of [
    'pkcs11:token=t',
    'pkcs11:?module-path=/m.so',
    'pkcs11:object=o?module-path=/m.so',
    'pkcs11:token=t?module-path=m.so',
    'pkcs11:token=t;token=u?module-path=/m.so',
    'pkcs11:token=t?module-path=/m.so&module-path=/n.so',
    'pkcs11:token=?module-path=/m.so',
    'pkcs11:token=%ff?module-path=/m.so',
    'pkcs11:token=t%00?module-path=/m.so',
    'pkcs11:slot-id=x?module-path=/m.so',
    'pkcs11:token=t;type=private?module-path=/m.so',
    'pkcs11:token=t;x-vendor=1?module-path=/m.so',
    'pkcs11:token=t?module-path=/m.so?pin-value=1',
    'pkcs11:token=t?module-path=/m.so&pin-value=31415926',
    'pkcs11:token=t?module-path=/m.so&pin-source=file:/31415926',
    'PKCS11:token=t?module-path=/m.so',
  ])
    assert.throws(
      () => parseTokenUri(bad),
      (error: Error & { code: string }) =>
        error.code === 'uri_malformed' && !error.message.includes('31415926'),
      bad,
    )
})
