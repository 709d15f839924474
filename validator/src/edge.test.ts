/**
 * Goal: where there is nothing of Node, the same tokens are good and the others are refused for the same reasons. Method: the
 * entry is bundled as for an edge and run where only the globals of the web are; every vector of spec/vectors goes through it,
 * and thousands of tokens, good, odd and hostile, each of which the validator of Node decides about as well. Seeded.
 */

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import test from 'node:test'
import { type Context, createContext, runInContext } from 'node:vm'
import { build } from 'esbuild'
import fc from 'fast-check'
import { dpop } from './dpop.ts'
import { createEdgeGuard, createEdgeTrust, createEdgeValidator, type EdgeStore } from './edge.ts'
import { startFakeAuthority } from './fake-authority.ts'
import { algorithms } from './jws.ts'
import type { Sighting } from './sighting.ts'
import { createTestHolder } from './test-proof.ts'
import * as onNode from './test-vectors.ts'
import { createTestKey, createTestWorld, mailAudience, type TestOrder, verdictOf } from './testing.ts'
import { createValidator } from './validator.ts'

type Vectors = typeof onNode

/** What every runtime of the web has (WinterTC, Minimum Common API), and this test nothing else. */
const webGlobals = {
  AbortController,
  AbortSignal,
  Headers,
  Request,
  Response,
  SubtleCrypto,
  TextDecoder,
  TextEncoder,
  URL,
  atob,
  btoa,
  clearTimeout,
  console,
  crypto,
  fetch,
  performance,
  queueMicrotask,
  setTimeout,
}

async function bundle(...modules: readonly string[]): Promise<string> {
  const contents = modules.map((module) => `export * from './${module}.ts'`).join('\n')
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: import.meta.dirname },
    bundle: true,
    platform: 'neutral',
    format: 'iife',
    globalName: 'exported',
    write: false,
    logLevel: 'silent',
  })
  return outputFiles[0]?.text ?? ''
}

/** Runs a bundle where there is nothing but the web; with `others` in the place of some of that. */
function atEdge<Exports>(code: string, others: object = {}): Exports {
  const context: Context = createContext({ ...webGlobals, ...others })
  runInContext(code, context)
  return runInContext('exported', context) as Exports
}

const vectorsCode = await bundle('test-vectors')
const vectors = atEdge<Vectors>(vectorsCode)

test('the entry, and proofs of possession with it, need nothing of Node', async () => {
  const code = await bundle('edge', 'dpop')
  // What is left are the comments of esbuild, which name the files.
  const found = code
    .replaceAll(/^\s*\/\/.*$/gm, '')
    .match(/\bnode:\w+|\b(?:Buffer|process|require|global|__dirname)\b/g)
  assert.deepEqual(found, null)
  const edge = atEdge<typeof import('./edge.ts')>(code)
  assert.equal(typeof edge.createEdgeValidator, 'function')
})

for (const file of Object.keys(onNode.runners) as (keyof typeof onNode.runners)[]) {
  test(`the vectors of spec/vectors/${file}.json come out as they say, on Node and where only the web is`, async () => {
    const text = readFileSync(new URL(`../../spec/vectors/${file}.json`, import.meta.url), 'utf8')
    for (const runtime of [onNode, vectors]) {
      const outcomes = await runtime.runVectors(file, text)
      assert.ok(outcomes.length > 5)
      for (const [name, said, came] of outcomes) assert.equal(came, said, name)
    }
  })
}

const world = createTestWorld()
const { now } = world
const keys = [world.keys.consumer, ...algorithms.map(createTestKey)]
const dead = (['published', 'blocked', 'revoked'] as const).map(
  (state) => [state, createTestKey('ES256')] as const,
)
const records = {
  blocked: { blocked: { at: now, reason: 'suspected', by: 'olga' } },
  revoked: { revoked: { at: now, reason: 'stolen' } },
  published: {},
}
world.publish(({ keys: before }) => ({
  keys: [
    ...before,
    ...keys.slice(1).map((key) => world.draftKey(key, 'consumer')),
    ...dead.map(([state, key]) => world.draftKey(key, 'consumer', { state, ...records[state] })),
  ],
  cutoffs: [{ realm: 'consumer', subject: 'cut-off', before: now + 1 }],
}))

const oddOrder = fc.record(
  {
    key: fc.constantFrom(...keys, ...keys, ...dead.map(([, key]) => key), createTestKey('ES256')),
    receipt: fc.constantFrom(undefined, undefined, undefined, null, new Uint8Array(80)),
    claims: fc.record(
      {
        sub: fc.constantFrom('user-1', 'cut-off', '', 'ünï \u2028', 7),
        aud: fc.constantFrom(mailAudience, [mailAudience, 'x'], 'x', []),
        exp: fc.constantFrom(now + 300, now - 300, now + 3601, now + 2),
        nbf: fc.constantFrom(now, now + 60),
        iss: fc.constantFrom('https://login.consumer.example', 'https://login.enterprise.example'),
        cnf: fc.constantFrom({ jkt: 'A'.repeat(43) }, {}),
        odd: fc.json({ maxDepth: 3 }).map((text) => JSON.parse(text)),
      },
      { requiredKeys: [] },
    ),
    header: fc.record(
      { typ: fc.constantFrom('at+jwt', 'application/AT+JWT', 'JWT'), jku: fc.constant('x') },
      { requiredKeys: [] },
    ),
  },
  { requiredKeys: [] },
)

const goodOrder = fc.record({ key: fc.constantFrom(...keys), claims: fc.record({ odd: fc.json() }) })
const order = fc.oneof(goodOrder, oddOrder) as fc.Arbitrary<TestOrder>

/** One of four tokens has such an edit. */
const edit = fc.record({
  isEdited: fc.constantFrom(false, false, false, true),
  at: fc.nat(),
  cut: fc.constantFrom(0, 1, 1, 2),
  put: fc.constantFrom('', 'A', 'Q', '=', '.', '-', '_', '+', ' ', 'é', '%2e', '\0'),
})

/** What a bundle is told to decide about these tokens, each with what its sender proved. */
function askAbout(tokens: readonly (readonly unknown[])[]): string {
  const documents = {
    trust_anchor: world.trustAnchor,
    charters: world.charterDocuments,
    manifest: world.manifestDocument,
  }
  return JSON.stringify({ documents, realm: 'consumer', audience: mailAudience, now, tokens })
}

test('thousands of tokens, good, odd and hostile: verdict, reason and every word of the sightings as on Node', async () => {
  const samples = fc.sample(fc.tuple(order, edit), { numRuns: 3000, seed: 11 })
  const issued: string[] = []
  // In batches of all sizes, so that receipts are alone and together.
  for (let at = 0, size = 1; at < samples.length; at += size, size = (size % 33) + 1)
    issued.push(...world.issueBatch(samples.slice(at, at + size).map(([wanted]) => wanted)))
  const tokens = issued.map((token, nth) => {
    const { isEdited, at, cut, put } = (samples[nth] as (typeof samples)[number])[1]
    const place = at % (token.length + 1)
    return isEdited ? token.slice(0, place) + put + token.slice(place + cut) : token
  })
  // Shown again, a token comes from the cache.
  const shown = tokens.flatMap((token, nth) =>
    nth % 7 === 0 ? [[token], [token, { jkt: 'A'.repeat(43) }]] : [[token]],
  )
  const sightings: Sighting[] = []
  const validator = createValidator({
    realm: 'consumer',
    audience: mailAudience,
    trust: world.trust,
    now: () => now,
    onSighting: (sighting) => sightings.push(sighting),
  })
  const verdicts = (shown as [string, { jkt: string }?][]).map(([token, confirmation]) => {
    const decision = validator.decide(token, { confirmation, userAgent: 'test é' })
    return decision.accepted ? JSON.stringify(decision.token.claims) : decision.refusal.reason
  })
  const asked = askAbout(shown)
  const expected = JSON.parse(JSON.stringify({ verdicts, sightings }))
  const accepted = verdicts.filter((verdict) => verdict.startsWith('{')).length
  const reasons = new Set(verdicts.filter((verdict) => !verdict.startsWith('{')))
  assert.ok(accepted > 300 && reasons.size >= 15, `${accepted} accepted, ${[...reasons]}`)
  for (const runtime of [onNode, vectors]) {
    const came = JSON.parse(await runtime.decideEach(asked))
    assert.deepEqual(came.verdicts, expected.verdicts)
    assert.deepEqual(came.sightings, expected.sightings)
  }
})

test('a runtime that has no ML-DSA follows an authority whose keys include some, and refuses what those sign', async () => {
  class OlderSubtleCrypto {}
  const older = atEdge<Vectors>(vectorsCode, { SubtleCrypto: OlderSubtleCrypto })
  const tokens = keys.map((key) => [world.issue({ key })])
  const { verdicts } = JSON.parse(await older.decideEach(askAbout(tokens))) as { verdicts: string[] }
  assert.deepEqual(
    verdicts.map((verdict) => (verdict.startsWith('{') ? 'accepted' : verdict)),
    keys.map(({ algorithm }) => (algorithm === 'ML-DSA-44' ? 'signature_invalid' : 'accepted')),
  )
})

/** Trust at the edge of a world of its own, with clocks that the test moves. */
async function edgeOf({ store, refreshSeconds }: { store?: EdgeStore; refreshSeconds?: number } = {}) {
  const own = createTestWorld()
  const authority = await startFakeAuthority(own)
  const problems: Error[] = []
  const begin = (options: { readonly store?: EdgeStore } = { ...(store && { store }) }) => {
    const trust = createEdgeTrust({
      authority: authority.url,
      trustAnchor: own.trustAnchor,
      refreshSeconds,
      onProblem: (problem) => problems.push(problem),
      now: () => own.now,
      monotonic: () => own.now * 1000,
      ...options,
    })
    const validator = createEdgeValidator({
      realm: 'consumer',
      audience: mailAudience,
      trust,
      now: () => own.now,
    })
    return { trust, validator }
  }
  const wordFor = async ({ validator }: ReturnType<typeof begin>, token: string): Promise<string> => {
    return verdictOf(await validator.decide(token))
  }
  return { world: own, authority, problems, begin, wordFor }
}

/** A store in memory, as it would be elsewhere. */
function memoryStore(): EdgeStore & { record: string | undefined } {
  const store = {
    record: undefined as string | undefined,
    get: async () => store.record,
    put: async (record: string) => {
      store.record = record
    },
  }
  return store
}

test('trust is asked for when the first token comes, and again when it is older than it may be', async (context) => {
  const { world, authority, problems, begin, wordFor } = await edgeOf()
  context.after(() => authority.stop())
  const edge = begin()
  assert.deepEqual(
    [authority.requests, edge.trust.state, edge.trust.ageSeconds()],
    [[], undefined, Number.POSITIVE_INFINITY],
  )
  const token = world.issue()
  assert.deepEqual(await Promise.all([1, 2, 3].map(() => wordFor(edge, token))), [
    'accepted',
    'accepted',
    'accepted',
  ])
  assert.deepEqual(authority.requests, ['GET /manifest', 'GET /charter/1'], 'once for all who wait')
  world.setState(world.keys.consumer.kid, 'revoked')
  world.now += 4
  assert.equal(await wordFor(edge, token), 'accepted')
  world.now += 1
  assert.equal(await wordFor(edge, token), 'key_revoked')
  assert.deepEqual(authority.requests.slice(2), ['GET /manifest'])
  assert.deepEqual(problems, [])
})

test('a second charter and what was missed in between are fetched and verified down to the anchor', async (context) => {
  const { world, authority, problems, begin, wordFor } = await edgeOf()
  context.after(() => authority.stop())
  world.amend()
  world.amend()
  const edge = begin()
  assert.equal(await wordFor(edge, world.issue()), 'accepted')
  assert.equal(edge.trust.state?.charter.version, 3)
  world.amend()
  world.now += 5
  assert.equal(await wordFor(edge, world.issue()), 'accepted')
  assert.deepEqual(authority.requests.slice(-2), ['GET /manifest', 'GET /charter/4'])
  assert.deepEqual(problems, [])
})

test('T121 without its authority it decides by what it knows for a minute, asks once a second, and then refuses everything', async (context) => {
  const { world, authority, problems, begin, wordFor } = await edgeOf()
  context.after(() => authority.stop())
  const edge = begin()
  assert.equal(await wordFor(edge, world.issue()), 'accepted')
  authority.answer('/', (_request, response) => response.writeHead(503).end())
  world.now += 30
  const before = authority.requests.length
  assert.deepEqual(await Promise.all([1, 2, 3].map(() => wordFor(edge, world.issue()))), [
    'accepted',
    'accepted',
    'accepted',
  ])
  assert.equal(await wordFor(edge, world.issue()), 'accepted')
  assert.equal(authority.requests.length, before + 1)
  world.now += 31
  assert.equal(await wordFor(edge, world.issue()), 'manifest_stale')
  assert.deepEqual(
    problems.map(({ name }) => name),
    ['DeliveryFault', 'DeliveryFault'],
  )
  authority.answer('/', undefined)
  world.now += 2
  assert.equal(await wordFor(edge, world.issue()), 'accepted')
})

test('T112 T116 an older manifest is refused, also by a process that has just begun and remembers it', async (context) => {
  const store = memoryStore()
  const { world, authority, problems, begin, wordFor } = await edgeOf({ store })
  context.after(() => authority.stop())
  const older = authority.delivery()
  const token = world.issue()
  world.setState(world.keys.consumer.kid, 'revoked')
  const edge = begin()
  assert.equal(await wordFor(edge, token), 'key_revoked')
  authority.answer('/manifest', (_request, response) =>
    response.writeHead(200, { 'content-type': 'application/json' }).end(older),
  )
  world.now += 5
  assert.equal(await wordFor(edge, token), 'key_revoked')
  assert.match(String(problems.at(-1)), /DocumentRefusal: .*newer|older/)
  const second = begin()
  assert.notEqual(await wordFor(second, token), 'accepted')
  assert.equal(second.trust.state?.manifest.version, 2)
  // Whatever the record says, only the authority can make it fresh.
  assert.equal(second.trust.ageSeconds(), Number.POSITIVE_INFINITY)
  assert.equal(await wordFor(begin({}), token), 'accepted', 'who remembers nothing cannot know')
})

test('a record that is damaged, forged or out of reach lets nothing be believed, and is not replaced', async (context) => {
  const store = memoryStore()
  const { world, authority, problems, begin, wordFor } = await edgeOf({ store })
  context.after(() => authority.stop())
  assert.equal(await wordFor(begin(), world.issue()), 'accepted')
  const good = store.record ?? ''
  const { charters, manifest } = JSON.parse(good)
  const other = createTestWorld()
  const records = [
    good.slice(0, -1),
    '{}',
    JSON.stringify({ ...JSON.parse(good), charters: [] }),
    JSON.stringify({
      ...JSON.parse(good),
      charters: other.charterDocuments,
      manifest: other.manifestDocument,
    }),
    JSON.stringify({ ...JSON.parse(good), charters, manifest: { ...manifest, signatures: [] } }),
  ]
  for (const record of records) {
    store.record = record
    const count = problems.length
    assert.equal(await wordFor(begin(), world.issue()), 'manifest_stale')
    assert.deepEqual([problems.length, store.record], [count + 1, record])
  }
  const away: EdgeStore = { get: () => Promise.reject(new Error('the store is away')), put: store.put }
  assert.equal(await wordFor(begin({ store: away }), world.issue()), 'manifest_stale')
  store.record = good
  assert.equal(await wordFor(begin(), world.issue()), 'accepted')
})

test('where an authority says nothing, a request waits for so long and no longer', async (context) => {
  const { world, authority, begin, wordFor } = await edgeOf()
  context.after(() => authority.stop())
  const edge = begin()
  assert.equal(await wordFor(edge, world.issue()), 'accepted')
  authority.answer('/', () => {})
  world.now += 10
  context.mock.timers.enable({ apis: ['setTimeout'] })
  const asked = authority.asked('/manifest')
  const word = wordFor(edge, world.issue())
  await asked
  context.mock.timers.tick(3000)
  assert.equal(await word, 'accepted')
})

test('what is left open or misspelt is found out when it is made', () => {
  const trust = { state: undefined, ageSeconds: () => 0 }
  const options = { realm: 'consumer', audience: mailAudience, trust }
  const wrong: readonly object[] = [
    { ...options, audience: undefined },
    { ...options, trust: undefined },
    { ...options, requireReciept: false },
    { ...options, issuers: [] },
  ]
  for (const each of wrong) assert.throws(() => createEdgeValidator(each as typeof options), TypeError)
  const whom = { authority: 'https://authority.example', trustAnchor: world.trustAnchor }
  assert.throws(() => createEdgeTrust({ ...whom, refreshSeconds: 60 }), TypeError)
  assert.throws(() => createEdgeTrust({ ...whom, refreshSeconds: Number.NaN }), TypeError)
  assert.throws(() => createEdgeTrust({ ...whom, trustAnchor: { ...world.trustAnchor, threshold: 0 } }), {
    flaw: 'malformed',
  })
})

test('a guard answers requests as everywhere: token, scope, and proof that it is its sender’s', async () => {
  const holder = createTestHolder()
  const validator = createEdgeValidator({
    realm: 'consumer',
    audience: mailAudience,
    trust: world.trust,
    now: () => now,
  })
  const guard = createEdgeGuard(validator, {
    scopes: 'mail.read',
    bindings: [dpop({ base: 'https://mail.example', now: () => now })],
    now: () => now,
  })
  const url = 'https://mail.example/inbox?folder=1'
  const ask = async (headers: Record<string, string>, by = guard): Promise<string> => {
    const admission = await by.admit(new Request(url, { headers }), { network: '192.0.2.1' })
    if (admission.admitted) return admission.token.subject
    const { response } = admission
    const body = (await response.json()) as { reason: string }
    assert.equal(response.headers.get('x-countersign-reason'), body.reason)
    assert.match(response.headers.get('www-authenticate') ?? '', /^(Bearer|DPoP)/)
    return `${response.status} ${body.reason}`
  }
  const token = world.issue()
  const bound = world.issue({ claims: { cnf: { jkt: holder.jkt } } })
  const proof = (claims = {}): string =>
    holder.prove({ url: 'https://mail.example/inbox', token: bound, now }, claims)
  assert.equal(await ask({}), '401 token_missing')
  assert.equal(await ask({ authorization: `Bearer ${token}` }), 'user-1')
  assert.equal(await ask({ authorization: `Bearer ${token.slice(0, -4)}AAAA` }), '401 signature_invalid')
  assert.equal(await ask({ authorization: `Bearer ${token}, Bearer ${token}` }), '401 malformed')
  assert.equal(
    await ask({ authorization: `Bearer ${token}` }, guard.requiring({ scopes: 'mail.write' })),
    '403 insufficient_scope',
  )
  assert.equal(await ask({ authorization: `Bearer ${bound}` }), '401 sender_mismatch')
  const shown = proof()
  assert.equal(await ask({ authorization: `DPoP ${bound}`, dpop: shown }), 'user-1')
  assert.equal(
    await ask({ authorization: `DPoP ${bound}`, dpop: shown }),
    '401 sender_mismatch',
    'shown before',
  )
  assert.equal(
    await ask({ authorization: `DPoP ${bound}`, dpop: `${proof().slice(0, -4)}AAAA` }),
    '401 sender_mismatch',
  )
  assert.equal(
    await ask({ authorization: `DPoP ${bound}`, dpop: proof({ htm: 'POST' }) }),
    '401 sender_mismatch',
  )
})
