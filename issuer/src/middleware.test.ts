/**
 * Goal: whatever breaks inside is answered in the way of its caller, and told to us alone. Method: the middleware around
 * handlers that fail, and a real connection that its client ends in the middle of a form.
 */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { test } from 'node:test'
import { readForm } from './form.ts'
import { answerErrors, type Context } from './middleware.ts'

const faults: string[] = []
const answer = answerErrors({ tenant: 'Home', host: 'login.example' }, ({ message }) => faults.push(message))

function visit(path: string, req: object = {}): Context {
  return { path, req, set: () => {} } as unknown as Context
}

test('people get a page and clients get JSON when something breaks, and neither learns what', async () => {
  const fail = (): never => {
    throw new Error('no such table: person')
  }
  const [page, client] = [visit('/interaction/abc/password'), visit('/introspect')]
  for (const each of [page, client]) await answer(each, fail)
  assert.deepEqual([page.status, client.status], [500, 500])
  assert.match(String(page.body), /Something went wrong here\. Go back/)
  assert.equal((client.body as { error: string }).error, 'server_error')
  assert.ok(!JSON.stringify([page.body, client.body]).includes('no such table'))
  assert.deepEqual(faults.splice(0), ['no such table: person', 'no such table: person'])
})

test('who leaves in the middle of a form is no fault of ours', async () => {
  const answered = Promise.withResolvers<void>()
  const server = createServer((request) => {
    leaver.destroy()
    answer(visit('/introspect', request), () => readForm(request)).then(answered.resolve, answered.reject)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const leaver = connect((server.address() as AddressInfo).port, '127.0.0.1')
  leaver.write('POST / HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-www-form-urlencoded\r\n')
  leaver.write('content-length: 9\r\n\r\ntok')
  await answered.promise
  assert.deepEqual(faults, [])
  server.close()
})
