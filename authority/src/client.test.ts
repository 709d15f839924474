/**
 * Goal: whoever gives a command learns whether to give it again, whatever stands between them and the authority. Method:
 * answers of a proxy whose authority is away, and of one that asks for patience.
 */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { AuthorityError, fetchAcks } from './client.ts'

for (const [status, body, isRetryable] of [
  [502, '<html>Bad Gateway</html>', true],
  [504, '', true],
  [502, 'null', true],
  [503, '{"error":"not_leader","error_description":"another leads"}', true],
  [429, '<html>Too Many Requests</html>', true],
  [200, '<html>Welcome</html>', false],
  [404, '<html>Not Found</html>', false],
  [404, 'null', false],
  [404, '{"error":"unknown_key"}', false],
] as const) {
  test(`an answer ${status} with "${body}" is ${isRetryable ? 'worth asking again' : 'final'}`, async (t) => {
    const server = createServer((_request, response) => response.writeHead(status).end(body))
    await once(server.listen(0, '127.0.0.1'), 'listening')
    t.after(() => server.close())
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    await assert.rejects(fetchAcks(url), (error) => {
      assert.ok(error instanceof AuthorityError)
      assert.equal(error.retryable, isRetryable)
      return true
    })
  })
}
