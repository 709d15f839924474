/**
 * An identity provider for tests: it shows metadata and a key set on loopback, signs tokens, and can be made to misbehave.
 * What it is called is for the test to say: whoever follows it is told to fetch from loopback.
 * @module
 */

import { EventEmitter, once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { encode } from './base64url.ts'
import { encodePayload } from './document.ts'
import { type Algorithm, signInput } from './jws.ts'
import { createTestKey, type TestKey } from './testing.ts'

/** A key of the provider's, by a name of the provider's. */
export interface ProviderKey extends Omit<TestKey, 'kid'> {
  readonly kid: string
  /** As the set shows it. */
  readonly shown: object
}

export interface FakeProvider {
  readonly origin: string
  /** What the set holds; tests put others in. */
  keys: readonly object[]
  /** Laid over the metadata. */
  metadata: Readonly<Record<string, unknown>>
  /** The requests that came, by path. */
  readonly requests: readonly string[]
  /** Answers a path in another way than usual; undefined ends that. */
  answer(path: string, listener: RequestListener | undefined): void
  /** Settles when the set has been asked for `count` times altogether. */
  asked(count: number): Promise<void>
  stop(): Promise<void>
}

export interface ProviderPlaces {
  /** As the metadata name it. */
  readonly issuer: string
  readonly metadataPath: string
  readonly keySet: string
}

export async function startFakeProvider({
  issuer,
  metadataPath,
  keySet,
}: ProviderPlaces): Promise<FakeProvider> {
  const requests: string[] = []
  const answers = new Map<string, RequestListener>()
  const happenings = new EventEmitter().setMaxListeners(0)
  const keySetPath = new URL(keySet).pathname
  const server = createServer((request, response) => {
    const path = request.url ?? ''
    requests.push(path)
    const answer = answers.get(path)
    const body = {
      [metadataPath]: () => ({ issuer, jwks_uri: keySet, ...provider.metadata }),
      [keySetPath]: () => ({ keys: provider.keys }),
    }[path]
    if (answer !== undefined) answer(request, response)
    else if (body === undefined) response.writeHead(404).end()
    else response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body()))
    happenings.emit('request')
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const provider: FakeProvider = {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    keys: [],
    metadata: {},
    requests,
    answer: (path, listener) => {
      if (listener === undefined) answers.delete(path)
      else answers.set(path, listener)
    },
    asked: async (count) => {
      while (requests.filter((path) => path === keySetPath).length < count) await once(happenings, 'request')
    },
    stop: async () => {
      server.close()
      server.closeAllConnections()
      await once(server, 'close').catch(() => {})
    },
  }
  return provider
}

/** Makes a key that a provider calls `kid`; `shown` is laid over what its set shows, undefined leaves a member out. */
export function createProviderKey(
  kid: string,
  algorithm: Algorithm = 'RS256',
  shown: object = {},
): ProviderKey {
  const key = createTestKey(algorithm)
  const { alg: _, ...members } = key.jwk
  return { ...key, kid, shown: { ...members, kid, use: 'sig', ...shown } }
}

/** Signs whatever is asked for. Members of the header that are undefined are left out. */
export function signAs(
  key: Pick<ProviderKey, 'algorithm' | 'privateKey' | 'kid'>,
  header: object,
  claims: object,
): string {
  const input = [{ alg: key.algorithm, kid: key.kid, ...header }, claims]
    .map((each) => encodePayload(each))
    .join('.')
  return `${input}.${encode(signInput(key.algorithm, key.privateKey, input))}`
}
