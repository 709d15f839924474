/**
 * Goal: a configuration is taken whole or refused by file and member, and never quoted. Method: files with one mistake
 * each.
 */

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { z } from 'zod'
import { readConfig } from './config.ts'

const folder = mkdtempSync(join(tmpdir(), 'countersign-service-'))
after(() => rmSync(folder, { recursive: true }))
const file = join(folder, 'service.json')
const schema = z.strictObject({
  audience: z.string(),
  listen: z.strictObject({ port: z.int() }),
  scopes: z.array(z.string()).default([]),
})

function read(text: string): z.infer<typeof schema> {
  writeFileSync(file, text)
  return readConfig(file, schema)
}

test('a configuration that is right is frozen, with its defaults', () => {
  const config = read('{"audience": "mail", "listen": {"port": 0}}')
  assert.deepEqual(config, { audience: 'mail', listen: { port: 0 }, scopes: [] })
  assert.ok(Object.isFrozen(config))
})

test('T239 what is missing, of another type or not known is refused, all of it at once', () => {
  assert.throws(() => read('{"listen": {"port": "80", "prot": 1}, "audiance": "mail"}'), {
    message: new RegExp(
      [
        `^${file} is not usable:`,
        '  line 1: audience: .*expected string.*',
        '  line 1: listen\\.port: .*expected number.*',
        '  line 1: listen: Unrecognized key: "prot"',
        '  line 1: \\(top\\): Unrecognized key: "audiance"$',
      ].join('\n'),
    ),
  })
})

test('T239 each mistake is shown by the line that it stands in', () => {
  const text = `{
  "audience": "mail",
  "audience": "calendar",
  "listen": {
    "port": "80",
    "prot": 1
  }
}`
  assert.throws(() => read(text), {
    message: new RegExp(
      [
        '  line 5: listen\\.port: .*expected number.*',
        '  line 6: listen: Unrecognized key: "prot"',
        '  line 3: audience: stands in it twice$',
      ].join('\n'),
    ),
  })
})

test('T237 a file that is no JSON is named with the line, and not quoted', () => {
  assert.throws(() => read('{\n  "audience": hunter2\n}'), {
    message: /^\S+ is not JSON( \(line 2 column \d+\))?$/,
  })
  assert.throws(() => read(''), { message: `${file} is not JSON` })
  assert.throws(() => readConfig(join(folder, 'none.json'), schema), { message: /^there is no file / })
})
