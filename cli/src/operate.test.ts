/**
 * Goal: a kill gets through although the authority is away for a moment, and no key is rotated twice. Method: a proxy
 * that says so once for each address, in words of its own.
 */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { createTestKey } from '@countersign/validator/testing'
import { operate } from './operate.ts'

for (const [op, tries] of [
  ['block', 2],
  ['rotate', 1],
] as const) {
  test(`a proxy whose authority is away is asked ${tries === 1 ? 'once' : 'again'} to ${op}`, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'operate-'))
    t.after(() => rmSync(folder, { recursive: true }))
    const key_file = join(folder, 'olga.json')
    writeFileSync(key_file, JSON.stringify(createTestKey('EdDSA').privateKey.export({ format: 'jwk' })))
    let [commands, asked] = [0, 0]
    const server = createServer(({ url }, response) => {
      const isAway = url === '/commands' ? ++commands === 1 : ++asked === 1
      const answer = isAway ? '<html>Bad Gateway</html>' : '{"version":2,"changed":true,"validators":[]}'
      response.writeHead(isAway ? 502 : 200).end(answer)
    })
    await once(server.listen(0, '127.0.0.1'), 'listening')
    t.after(() => server.close())
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const authority = { url, operators: [{ id: 'olga', key_file }] } as Parameters<typeof operate>[0]
    const command = { op, kid: 'k'.repeat(43), reason: 'test' }
    const operated = operate(authority, command, 'olga', () => {})
    if (tries === 1) await assert.rejects(operated, { code: 'invalid_answer' })
    else assert.equal((await operated).version, 2)
    assert.equal(commands, tries)
  })
}
