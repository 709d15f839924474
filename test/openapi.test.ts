/**
 * Goal: what the broker's interface says of itself is what it does. Method: the document is compared with the code in both
 * directions, row by row; its examples are held against its own schemas; and every source that a request passes is searched
 * for codes that the document would have to have.
 */

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { LineError } from '@countersign/lines'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { describeProblem, problems } from '../broker/src/problems.ts'
import { operationNames } from '../broker/src/remote.ts'
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
