/**
 * Goal: what the broker's interface says of itself is what it does. Method: the document is compared with the code in both
 * directions, row by row; its examples, and what a real broker answers, are held against its own schemas; and every source
 * that a request passes is searched for codes that the document would have to have.
 */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { request } from 'node:https'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { json } from 'node:stream/consumers'
import { test } from 'node:test'
import { LineError } from '@countersign/lines'
import { issuers } from '@countersign/validator/testing'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { describeProblem, problems } from '../broker/src/problems.ts'
import { operationNames } from '../broker/src/remote.ts'
import { startTestBroker } from '../broker/src/testing.ts'
import { createTestAuthority, missingOpenssl } from '../broker/src/testing-pki.ts'
import { root } from '../tools/source.ts'

interface Content {
  readonly schema: object
  readonly example?: unknown
}
interface Response {
  readonly $ref?: string
  readonly content?: Readonly<Record<string, Content>>
}
interface Operation {
  readonly requestBody?: { readonly content: Readonly<Record<string, Content>> }
  readonly responses: Readonly<Record<string, Response>>
}

const file = 'spec/broker.openapi.json'
const document = JSON.parse(readFileSync(join(root, file), 'utf8')) as {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
  readonly components: {
    readonly schemas: {
      readonly Problem: { readonly properties: { readonly code: { readonly enum: string[] } } }
    }
    readonly responses: Readonly<Record<string, Response>>
  }
}
const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({
    name: `${method.toUpperCase()} ${path}`,
    operation,
  })),
)
const ajv = new Ajv2020({ strict: false })
ajv.addSchema(document, 'document')

function isValid(schema: object, value: unknown): void {
  const text = JSON.stringify(schema).replaceAll('"#/', '"document#/')
  const validate = ajv.compile(JSON.parse(text) as object)
  assert.ok(validate(value), `${JSON.stringify(value)}: ${ajv.errorsText(validate.errors)}`)
}

test('each operation of the code is in the document, and each of the document in the code', () => {
  assert.deepEqual(operations.map(({ name }) => name).sort(), operationNames.toSorted())
})

test('each problem of the code is in the document under its status, and each of the document in the code', () => {
  const documented = Object.values(document.components.responses).flatMap(({ content }) => {
    const { schema } = content?.['application/problem+json'] ?? {}
    const [, { properties }] = (schema as { allOf: [object, { properties: Record<string, never> }] }).allOf
    const { status, code } = properties as unknown as { status: { const: number }; code: { enum: string[] } }
    return code.enum.map((each) => `${each} ${status.const}`)
  })
  const coded = Object.entries(problems).map(([code, { status }]) => `${code} ${status}`)
  assert.deepEqual(documented.sort(), coded.sort())
  assert.deepEqual(document.components.schemas.Problem.properties.code.enum, Object.keys(problems))
})

test('the examples and every problem are what their schemas say', () => {
  let count = 0
  for (const { operation } of operations)
    for (const { content } of [operation.requestBody, ...Object.values(operation.responses)].flatMap(
      (each) => each ?? [],
    ))
      for (const { schema, example } of Object.values(content ?? {})) {
        isValid(schema, example)
        count++
      }
  assert.ok(count >= 7, `${count} examples`)
  for (const [name, { content }] of Object.entries(document.components.responses)) {
    const schema = content?.['application/problem+json']?.schema ?? {}
    const { allOf } = schema as { allOf: [object, { properties: { code: { enum: string[] } } }] }
    for (const code of allOf[1].properties.code.enum) {
      isValid(schema, describeProblem(new LineError(code, 'why')))
      assert.throws(
        () => isValid(schema, { ...describeProblem(new LineError(code, 'why')), status: 200 }),
        name,
      )
    }
  }
})

test('every reference leads somewhere', () => {
  const references = JSON.stringify(document).matchAll(/"\$ref":"#\/([^"]+)"/g)
  for (const [, path = ''] of references)
    assert.ok(
      path.split('/').reduce<unknown>((at, name) => (at as Record<string, unknown>)?.[name], document),
      path,
    )
})

/** What a request passes on its way. */
const sources = [
  'signer/src/prepare.ts',
  'signer/src/sign.ts',
  'signer/src/signer.ts',
  'validator/src/claims.ts',
  'validator/src/scope.ts',
  'witness/src/admit.ts',
  'broker/src/batch.ts',
  'broker/src/issue.ts',
  'broker/src/signers.ts',
  'broker/src/supervise.ts',
  'broker/src/remote.ts',
]
/** Of operations that no remote issuer has. */
const ofOthers = ['too_many_keys', 'unknown_signer', 'timeout', 'disconnected']

test('no code that a request can meet is unknown to the interface, and a stranger says nothing', () => {
  const raised = /(?:LineError|Refusal|EntryRefusal|Error|problem)\(\s*'([a-z_]+)'|code: '([a-z_]+)'/g
  const codes = sources.flatMap((path) =>
    [...readFileSync(join(root, path), 'utf8').matchAll(raised)].map(([, one, other]) => one ?? other ?? ''),
  )
  assert.ok(new Set(codes).size > 20)
  assert.deepEqual(
    [...new Set(codes)].filter((code) => !Object.hasOwn(problems, code) && !ofOthers.includes(code)),
    [],
  )
  for (const error of [new LineError('made_up', 'hunter2'), new Error('hunter2'), 'hunter2'])
    assert.doesNotMatch(JSON.stringify(describeProblem(error)), /hunter2|made_up/)
  const { code, detail, status } = describeProblem(new LineError('pin_wrong', 'the PIN hunter2 is wrong'))
  assert.deepEqual([code, status], ['keystore_unavailable', 503])
  assert.doesNotMatch(detail, /hunter2/)
})

test('what a broker really answers is what the document says of it', {
  skip: missingOpenssl() ?? false,
}, async (t) => {
  const authority = createTestAuthority(mkdtempSync(join(tmpdir(), 'countersign-openapi-')))
  t.after(() => rmSync(dirname(authority.cert), { recursive: true }))
  const [server, partner, stranger] = [
    authority.issue('server', ['IP:127.0.0.1']),
    authority.issue('partner', ['DNS:partner.example']),
    authority.issue('stranger', ['DNS:stranger.example']),
  ]
  const broker = await startTestBroker({
    remote: {
      listen: { port: 0 },
      tls: { key: server.key, cert: server.cert, client_ca: authority.cert },
      clients: [
        {
          name: 'partner',
          certificate: { dns: 'partner.example' },
          realm: 'consumer',
          issuers: [issuers.consumer],
          tokens_per_second: 1,
        },
      ],
    },
  })
  t.after(() => broker.stop())
  const seen = new Set<string>()

  async function ask(name: string, body?: object, headers: object = {}, who = partner): Promise<void> {
    const [method, path] = name.split(' ')
    const asking = request({
      host: '127.0.0.1',
      port: broker.remotePort,
      method,
      path,
      agent: false,
      ca: readFileSync(authority.cert),
      key: readFileSync(who.key),
      cert: readFileSync(who.cert),
      headers: { ...(body && { 'content-type': 'application/json' }), ...headers },
    })
    asking.end(body && JSON.stringify(body))
    const [answer] = await once(asking, 'response')
    const { operation } = operations.find((each) => each.name === name) ?? {}
    const said = operation?.responses[answer.statusCode]
    assert.ok(said, `${name} answers ${answer.statusCode}`)
    const response = document.components.responses[said.$ref?.split('/').at(-1) ?? ''] ?? said
    const { schema } = response.content?.[answer.headers['content-type']] ?? {}
    assert.ok(schema, `${name} answers ${answer.headers['content-type']}`)
    isValid(schema, await json(answer))
    seen.add(`${answer.statusCode} ${name}`)
  }

  const good = { type: 'access', claims: JSON.parse(broker.claims('consumer')) as Record<string, unknown> }
  const bad = (change: object): object => ({ ...good, claims: { ...good.claims, ...change } })
  const many = [good, bad({ iss: 'https://other.example' }), bad({ exp: 1 }), { ...good, type: 'none' }, 7]
  for (const name of operationNames) await ask(name, undefined, {}, stranger)
  for (const name of ['GET /v1/jwks', 'GET /v1/health']) await ask(name)
  await ask('POST /v1/issue', good)
  await ask('POST /v1/issue-batch', { requests: many })
  await ask('POST /v1/issue', {})
  await ask('POST /v1/issue', bad({ iss: 'https://other.example' }))
  await ask('POST /v1/issue', bad({ tid: 'another' }))
  await ask('POST /v1/issue', { ...good, alg: 'EdDSA' })
  await ask('POST /v1/issue', bad({ note: 'x'.repeat(11_000) }))
  await ask('POST /v1/issue', good, { 'content-type': 'text/plain' })
  await ask('POST /v1/issue', bad({ iat: 1, exp: 2 }))
  broker.witness.lie = () => []
  await ask('POST /v1/issue', good)
  broker.witness.lie = (receipts) => receipts.map(() => ({ receipt: 'AAAA' }))
  await ask('POST /v1/issue', good)
  await broker.witness.close()
  await ask('GET /v1/health')
  await ask('POST /v1/issue-batch', {})
  await ask('POST /v1/issue-batch', { requests: 'x'.repeat(5 * 1024 * 1024) })
  await ask('POST /v1/issue-batch', good, { 'content-type': 'text/plain' })
  while (!seen.has('429 POST /v1/issue-batch'))
    await ask('POST /v1/issue-batch', { requests: Array(64).fill(good) })
  while (!seen.has('429 POST /v1/issue')) await ask('POST /v1/issue', good)
  const documented = operations.flatMap(({ name, operation }) =>
    Object.keys(operation.responses).map((status) => `${status} ${name}`),
  )
  // What nothing but a fault of ours brings about.
  assert.deepEqual(
    documented.filter((each) => !seen.has(each) && !each.startsWith('500')),
    [],
  )
})
