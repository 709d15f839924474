/**
 * Goal: what ends at one issuer ends at a service that follows it from outside, pushed or polled, within a moment. Method: the
 * transmitter of a test issuer, a validator that knows nothing of the issuer but its stream, and a person who signs out.
 */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, test } from 'node:test'
import { fixedTrust } from '@countersign/validator/follow'
import {
  createReceiver,
  followKeys,
  openDenials,
  pollTransmitter,
  type ReceiverOptions,
} from '@countersign/validator/ssf'
import { eventTypes } from '@countersign/validator/ssf-events'
import { createTestKey, mailAudience, verdictOf } from '@countersign/validator/testing'
import { createValidator } from '@countersign/validator/validator'
import { FakeBrowser } from '../issuer/src/fake-browser.ts'
import { authorize, exchangeCode, post, signIn } from '../issuer/src/flows.ts'
import { clientIds, passSeconds, startTestIssuer, type TestIssuer } from '../issuer/src/testing.ts'

let consumer: TestIssuer
let issuer: string
before(async () => {
  consumer = await startTestIssuer('consumer', { signals: true })
  issuer = consumer.issuers[0] ?? ''
})
after(() => consumer.stop())

/** A service elsewhere: it trusts the keys as they were when it started, and hears of the rest from the transmitter. */
function startService(heard: (type: string) => void) {
  const denials = openDenials()
  const options: ReceiverOptions = {
    issuer,
    audience: clientIds.receiver,
    keys: followKeys({ jwksUri: `${consumer.url}/jwks` }),
    denials,
    authorization: 'Bearer known-to-both',
    onEvent: ({ event }) => heard(event.type),
  }
  const validator = createValidator({
    realm: 'consumer',
    audience: mailAudience,
    trust: fixedTrust(consumer.world.state),
    denials,
  })
  const verdict = (token: string): string => {
    return verdictOf(validator.decide(token))
  }
  return { receiver: createReceiver(options), verdict }
}

async function manage(path: string, body: object): Promise<Record<string, never>> {
  const { access_token } = await post(consumer, '/token', clientIds.receiver, {
    grant_type: 'client_credentials',
    scope: 'ssf.manage',
  })
  const response = await consumer.fetch(`${issuer}${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${access_token}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  const text = await response.text()
  assert.ok(response.ok, text)
  return text === '' ? {} : JSON.parse(text)
}

async function signedIn() {
  const browser = new FakeBrowser(consumer)
  const { url, verifier } = await authorize(consumer)
  const { url: answer } = await signIn(browser, url)
  const tokens = await exchangeCode(consumer, { code: answer.searchParams.get('code') ?? '', verifier })
  const signOut = async (): Promise<void> => {
    await browser.open(`${issuer}/logout?id_token_hint=${tokens.id_token}`)
    await browser.submit({ logout: 'yes' })
  }
  return { accessToken: tokens.access_token ?? '', signOut }
}

/** Settles each time that something was heard. */
function ear() {
  let next = Promise.withResolvers<string>()
  return {
    hear: (type: string): void => {
      next.resolve(type)
      next = Promise.withResolvers()
    },
    next: (): Promise<string> => next.promise,
  }
}

test('T218 pushed: somebody who signs out here is refused there, and so is what their key signed once it is killed', async (t) => {
  const { hear, next } = ear()
  const { receiver, verdict } = startService(hear)
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request) body += chunk
    const { 'content-type': contentType, authorization } = request.headers
    const answer = await receiver.push({ contentType, authorization, body })
    response.writeHead(answer.status, answer.headers).end(answer.body)
  }).listen(0, '127.0.0.1')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  await once(server, 'listening')
  const { stream_id } = await manage('/ssf/stream', {
    delivery: {
      method: 'urn:ietf:rfc:8935',
      endpoint_url: `http://localhost:${(server.address() as AddressInfo).port}/`,
      authorization_header: 'Bearer known-to-both',
    },
  })
  receiver.expectVerification('are you there')
  const verified = next()
  await manage('/ssf/verify', { stream_id, state: 'are you there' })
  assert.equal(await verified, eventTypes.verification)

  const [leaving, staying] = [await signedIn(), await signedIn()]
  for (const { accessToken } of [leaving, staying]) assert.equal(verdict(accessToken), 'accepted')
  const ended = next()
  const startedAt = performance.now()
  await leaving.signOut()
  assert.equal(await ended, eventTypes.sessionRevoked)
  console.log(`from the click to the denial: ${(performance.now() - startedAt).toFixed(0)} ms`)
  assert.equal(verdict(leaving.accessToken), 'issued_before_cutoff')
  assert.equal(verdict(staying.accessToken), 'accepted')

  const killed = next()
  const { world } = consumer
  world.setState(world.keys.consumer.kid, 'blocked')
  consumer.hearNews()
  assert.equal(await killed, eventTypes.keyRevoked)
  assert.equal(verdict(staying.accessToken), 'key_revoked')
  const successor = createTestKey('ES256')
  world.publish((draft) => ({ keys: [...draft.keys, world.draftKey(successor, 'consumer')] }))
  consumer.key = successor
  // The second of the kill counts as before it.
  passSeconds(1)
})

test('T218 polled: the same, without being reachable', async (t) => {
  const { hear, next } = ear()
  const { receiver, verdict } = startService(hear)
  const { stream_id } = await manage('/ssf/stream', { events_requested: [eventTypes.sessionRevoked] })
  const polling = pollTransmitter({
    endpoint: `${consumer.url}/ssf/poll/${stream_id}`,
    accessToken: async () =>
      String(
        (
          await post(consumer, '/token', clientIds.receiver, {
            grant_type: 'client_credentials',
            scope: 'ssf.manage',
          })
        ).access_token,
      ),
    receiver,
    onProblem: (problem) => console.log(problem.message),
  })
  t.after(polling.stop)
  const person = await signedIn()
  assert.equal(verdict(person.accessToken), 'accepted')
  const ended = next()
  await person.signOut()
  assert.equal(await ended, eventTypes.sessionRevoked)
  assert.equal(verdict(person.accessToken), 'issued_before_cutoff')
  await polling.stop()
  // The farewell has acknowledged it: nobody hears of it again.
  const left = await manage(`/ssf/poll/${stream_id}`, { returnImmediately: true })
  assert.deepEqual(left, { sets: {}, moreAvailable: false })
})
