/**
 * Goal: a key is good while its owner shows it, and nobody else decides what is fetched, when or from where. Method: a fake
 * provider on loopback that misbehaves, on clocks that the test moves.
 */

import assert from 'node:assert/strict'
import type { RequestListener } from 'node:http'
import { type TestContext, test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { createProviderKey, type FakeProvider, startFakeProvider } from './fake-provider.ts'
import { followKeys, type KeyFollower, type KeyFollowerOptions } from './foreign-keys.ts'

const issuer = 'https://id.example/realm'
const metadataPath = '/realm/.well-known/openid-configuration'
const keySet = 'https://id.example/realm/keys'
const keySetPath = '/realm/keys'
const [first, second] = [createProviderKey('key-1'), createProviderKey('key-2')]

interface Scene {
  readonly provider: FakeProvider
  readonly keys: KeyFollower
  readonly problems: string[]
  /** How often the set was asked for. */
  readonly fetches: number
  /** Lets time pass. */
  pass(seconds: number): void
  /** Settles when a fetch that time has begun has ended, well or badly. */
  fetched(): Promise<void>
}

async function begin(
  t: TestContext,
  change: Partial<KeyFollowerOptions> = {},
  prepare: (provider: FakeProvider) => void = () => {},
): Promise<Scene> {
  const provider = await startFakeProvider({ issuer, metadataPath, keySet })
  provider.keys = [first.shown]
  prepare(provider)
  const problems: string[] = []
  let milliseconds = 1_000_000
  let due: { readonly at: number; readonly act: () => void } | undefined
  let ended = 0
  let seen = 0
  const keys = followKeys({
    metadata: { url: `https://id.example${metadataPath}`, issuer },
    scopeOf: () => ({
      realm: issuer,
      issuer,
      tenants: ['realm'],
      tokenTypes: ['access'],
      audiences: undefined,
      lifetimeSecondsMax: 3600,
    }),
    algorithms: ['RS256', 'ES256'],
    loopback: provider.origin,
    onProblem: ({ message }) => problems.push(message),
    clock: {
      monotonic: () => milliseconds,
      after: (pause, act) => {
        const mine = { at: milliseconds + pause, act }
        due = mine
        return () => {
          if (due === mine) due = undefined
        }
      },
    },
    onFetched: () => ended++,
    ...change,
  })
  t.after(async () => {
    keys.stop()
    await provider.stop()
  })
  const scene: Scene = {
    provider,
    keys,
    problems,
    get fetches() {
      return ended
    },
    pass: (seconds) => {
      milliseconds += Math.round(seconds * 1000)
      if (due === undefined || due.at > milliseconds) return
      const { act } = due
      due = undefined
      act()
    },
    fetched: async () => {
      const endsAt = performance.now() + 5000
      while (ended === seen) {
        assert.ok(performance.now() < endsAt, 'nothing is fetched')
        await new Promise((resolve) => setImmediate(resolve))
      }
      seen = ended
    },
  }
  await scene.fetched()
  return scene
}

test('V2 T102: a set replaces the one before: a key that its owner removed is gone at the next refresh', async (t) => {
  const { provider, keys, pass, fetched } = await begin(t, {}, (it) => {
    it.keys = [first.shown, second.shown]
  })
  const held = keys.find('key-2')
  assert.ok(keys.find('key-1') && held)
  provider.keys = [second.shown]
  pass(300)
  await fetched()
  assert.equal(keys.find('key-1'), undefined)
  assert.equal(keys.find('key-2'), held, 'what stayed the same is the same object, so verdicts by it stay')
  const other = createProviderKey('key-2')
  provider.keys = [other.shown]
  pass(300)
  await fetched()
  assert.notEqual(
    keys.find('key-2')?.thumbprint,
    held.thumbprint,
    'T031: another key of the same name takes its place',
  )
  provider.keys = []
  pass(300)
  await fetched()
  assert.equal(keys.find('key-2'), undefined, 'an owner that shows no key has none')
  assert.equal(keys.isStale, false)
})

test('V4 T103 T104 T105: a flood of unknown names brings one fetch per 30 s, empty set or not, and evicts nothing', async (t) => {
  for (const shown of [[first.shown], []]) {
    const scene = await begin(t, {}, (it) => {
      it.keys = shown
    })
    const { keys, pass, fetched } = scene
    const flood = (): void => {
      for (let nth = 0; nth < 10_000; nth++) {
        assert.equal(keys.find(`unknown-${nth}`), undefined)
        keys.miss()
      }
    }
    flood()
    pass(29)
    flood()
    assert.equal(scene.fetches, 1)
    pass(1)
    await fetched()
    assert.equal(scene.fetches, 2, 'the flood brought it forward')
    flood()
    pass(29.9)
    assert.equal(scene.fetches, 2)
    pass(0.1)
    await fetched()
    assert.equal(scene.fetches, 3)
    assert.equal(scene.provider.requests.filter((path) => path === keySetPath).length, 3)
    assert.equal(keys.find('key-1') !== undefined, shown.length > 0)
    keys.stop()
  }
})

test('a key that is new is known 30 s after the last fetch at the latest, once somebody has shown a token of it', async (t) => {
  const { provider, keys, pass, fetched } = await begin(t)
  provider.keys = [first.shown, second.shown]
  pass(40)
  assert.equal(keys.find('key-2'), undefined)
  keys.miss()
  pass(0)
  await fetched()
  assert.ok(keys.find('key-2'))
})

test('V4 V5 T106 T116 T121: a set that does not come takes no key away, until an hour has passed; then nothing is known', async (t) => {
  const scene = await begin(t)
  const { provider, keys, pass, fetched, problems } = scene
  provider.answer(keySetPath, (_, response) => response.writeHead(503).end())
  pass(300)
  await fetched()
  assert.match(problems.at(-1) ?? '', /503/)
  keys.miss()
  pass(29)
  assert.equal(scene.fetches, 2, 'a fetch that failed counts')
  for (let passed = 329; passed < 3600; passed += 30) {
    pass(30)
    if (passed + 30 <= 3600) {
      assert.ok(keys.find('key-1'))
      assert.equal(keys.isStale, false, String(passed))
    }
    await fetched()
  }
  pass(1)
  assert.equal(keys.isStale, true)
  provider.answer(keySetPath, undefined)
  pass(30)
  await fetched()
  assert.equal(keys.isStale, false, 'and it comes back by itself')
})

test('before the first set nothing is known, and ready waits for it', async (t) => {
  const { provider, keys, pass, fetched } = await begin(t, {}, (it) => {
    it.answer(metadataPath, (_, response) => response.writeHead(500).end())
  })
  assert.equal(keys.isStale, true)
  let isReady = false
  const ready = keys.ready().then(() => {
    isReady = true
  })
  provider.answer(metadataPath, undefined)
  assert.equal(isReady, false)
  pass(30)
  await fetched()
  await ready
  assert.ok(keys.find('key-1'))
  const never = await begin(t, {}, (it) => {
    it.answer(metadataPath, (_, response) => response.writeHead(500).end())
  })
  const waiting = never.keys.ready()
  never.keys.stop()
  await assert.rejects(waiting)
})

test('a set without a key is not what ready waits for, and what was wrong is the cause when its time is up', async (t) => {
  const { provider, keys, pass, fetched, problems } = await begin(t, {}, (it) => {
    it.keys = []
  })
  assert.deepEqual(problems, ['the key set has no key that may sign'])
  await assert.rejects(keys.ready(1), ({ message, cause }: Error) => {
    assert.equal(message, `no keys of ${issuer} have come: ${problems[0]}`)
    return (cause as Error).message === problems[0]
  })
  provider.keys = [{ ...first.shown, alg: 'RS512' }]
  pass(300)
  await fetched()
  assert.equal(problems.length, 2, 'one word for a set of which each key is left out')
  await assert.rejects(keys.ready(1), ({ message }: Error) => message.endsWith(problems[1] as string))
  const ready = keys.ready(60_000)
  provider.keys = [first.shown]
  pass(300)
  await fetched()
  await ready
  await keys.ready(0)
})

const html: RequestListener = (_, response) =>
  response.writeHead(200, { 'content-type': 'text/html' }).end('<html>')
const json = { 'content-type': 'application/json' }

const answers: readonly (readonly [what: string, path: string, answer: RequestListener])[] = [
  ['T110: HTML with 200', keySetPath, html],
  ['T110: HTML for metadata', metadataPath, html],
  ['T110: 304 without a body', keySetPath, (_, response) => response.writeHead(304).end()],
  [
    'T110: gzip',
    keySetPath,
    (_, response) =>
      response.writeHead(200, { ...json, 'content-encoding': 'gzip' }).end(gzipSync('{"keys":[]}')),
  ],
  [
    'T110: a body that breaks off',
    keySetPath,
    (_, response) => {
      response.writeHead(200, { ...json, 'content-length': '100' }).write('{"keys":')
      setImmediate(() => response.destroy())
    },
  ],
  [
    'T110: a body without end',
    keySetPath,
    (_, response) => {
      response.writeHead(200, json)
      response.end(`{"keys":[${'" ",'.repeat(200_000)}" "]}`)
    },
  ],
  [
    'T108: a redirect to another place',
    keySetPath,
    (_, response) => response.writeHead(302, { location: 'http://169.254.169.254/latest' }).end(),
  ],
  [
    'T108: a redirect of the metadata',
    metadataPath,
    (_, response) => response.writeHead(301, { location: metadataPath }).end(),
  ],
  ['no keys', keySetPath, (_, response) => response.writeHead(200, json).end('{}')],
  [
    'T054: keys twice',
    keySetPath,
    (_, response) => response.writeHead(200, json).end('{"keys":[],"keys":[]}'),
  ],
  ['keys that are no list', keySetPath, (_, response) => response.writeHead(200, json).end('{"keys":{}}')],
  [
    'too many keys',
    keySetPath,
    (_, response) =>
      response.writeHead(200, json).end(JSON.stringify({ keys: Array(101).fill(first.shown) })),
  ],
]

for (const [what, path, answer] of answers) {
  test(`${what}: is no set, and what is known stays`, async (t) => {
    const { provider, keys, pass, fetched, problems } = await begin(t)
    provider.answer(path, answer)
    pass(300)
    await fetched()
    assert.equal(problems.length, 1, what)
    assert.ok(keys.find('key-1'))
  })
}

const places: readonly (readonly [what: string, metadata: Readonly<Record<string, unknown>>])[] = [
  ['T097: metadata of another issuer', { issuer: 'https://evil.example/realm' }],
  ['T097: metadata of the issuer with a slash', { issuer: `${issuer}/` }],
  ['metadata of no issuer', { issuer: undefined }],
  ['T098: a key set at another origin', { jwks_uri: 'https://evil.example/realm/keys' }],
  ['T098: a key set without TLS', { jwks_uri: 'http://id.example/realm/keys' }],
  ['T098 T172: a key set on a private address', { jwks_uri: 'https://169.254.169.254/realm/keys' }],
  ['T033: a key set behind a name', { jwks_uri: 'https://id.example@evil.example/realm/keys' }],
  ['T033: a key set with a name', { jwks_uri: 'https://me@id.example/realm/keys' }],
  ['a key set in a file', { jwks_uri: 'file:///realm/keys' }],
  ['no key set', { jwks_uri: undefined }],
]

for (const [what, metadata] of places) {
  test(`V3 T107: ${what}: is not fetched from`, async (t) => {
    const { provider, keys, problems } = await begin(t, {}, (it) => {
      it.metadata = metadata
    })
    assert.equal(keys.isStale, true)
    assert.equal(problems.length, 1)
    assert.deepEqual(provider.requests, [metadataPath])
  })
}

test('V3 what is fetched from loopback is fetched from nowhere else, whatever the path of the key set', async (t) => {
  const { keys, provider } = await begin(t, {}, (it) => {
    it.metadata = { jwks_uri: 'https://id.example//127.0.0.1:9/keys' }
    it.answer('//127.0.0.1:9/keys', (_, response) =>
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ keys: it.keys })),
    )
  })
  assert.deepEqual(provider.requests, [metadataPath, '//127.0.0.1:9/keys'])
  assert.ok(keys.find('key-1'))
})

test('a key set may be where the preset says, and nowhere else', async (t) => {
  const { keys } = await begin(t, { keyOrigins: ['https://keys.example'] }, (it) => {
    it.metadata = { jwks_uri: 'https://keys.example/realm/keys' }
  })
  assert.ok(keys.find('key-1'))
})

test('T005 T006 T007 T019 T022 T023 T024 T031 T111: what is no key for signatures is left out and told of; the others count', async (t) => {
  const { privateKey } = first
  const bad: readonly object[] = [
    { kty: 'oct', k: 'AAAA', kid: 'symmetric', alg: 'HS256', use: 'sig' },
    { ...privateKey.export({ format: 'jwk' }), kid: 'private', use: 'sig' },
    { ...second.shown, kid: 'operations', key_ops: ['encrypt'] },
    { ...second.shown, kid: 'algorithm', alg: 'RS512' },
    { ...second.shown, kid: 'not-allowed', alg: 'PS256' },
    { ...second.shown, kid: 'exponent', e: 'Aw' },
    { ...second.shown, kid: 'short', n: 'AQAB' },
    { ...second.shown, kid: undefined },
    { ...second.shown, kid: '' },
    { ...second.shown, kid: 7 },
    { ...second.shown, kid: 'k'.repeat(513) },
    { ...second.shown, kid: 'zero\u200bwidth' },
    { ...second.shown, kid: 'issuer', issuer: 7 },
  ]
  const twice = [
    { ...second.shown, kid: 'twice' },
    { ...first.shown, kid: 'twice' },
  ]
  const encryption = { ...second.shown, kid: 'encryption', use: 'enc', alg: 'RSA-OAEP' }
  const { keys, problems } = await begin(t, {}, (it) => {
    it.keys = [...bad, ...twice, encryption, first.shown, null as never]
  })
  const kids = [
    'symmetric',
    'private',
    'operations',
    'algorithm',
    'not-allowed',
    'exponent',
    'short',
    'issuer',
    'zero\u200bwidth',
  ]
  for (const kid of [...kids, 'twice', 'encryption', '', '7']) assert.equal(keys.find(kid), undefined, kid)
  assert.equal(keys.find('key-1')?.algorithm, 'RS256', 'without alg the preset says which')
  assert.equal(problems.length, bad.length + 2, problems.join('\n'))
  assert.ok(!problems.some((problem) => problem.includes('AAAA')))
})

test('T117: validators that started together do not ask together', async (t) => {
  const due = new Set<number>()
  for (let nth = 0; nth < 8; nth++) {
    const scene = await begin(t)
    let seconds = 0
    for (; seconds < 301 && scene.provider.requests.length < 3; seconds++) {
      scene.pass(1)
      await new Promise((resolve) => setImmediate(resolve))
    }
    due.add(seconds)
    scene.keys.stop()
  }
  assert.ok(due.size > 1, [...due].join())
  assert.ok(Math.max(...due) <= 301 && Math.min(...due) >= 270, [...due].join())
})
