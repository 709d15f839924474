/**
 * Goal: what a cache in front keeps of an issuer is what everybody gets (T182). Method: metadata and keys are asked for with
 * everything that a request can carry, and compared with what a plain one gets, byte for byte.
 */

import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { startTestIssuer } from './testing.ts'

const realms = [await startTestIssuer('consumer'), await startTestIssuer('enterprise')]
after(() => Promise.all(realms.map((realm) => realm.stop())))

const forged: readonly Readonly<Record<string, string>>[] = [
  { 'x-forwarded-host': 'evil.example', 'x-forwarded-proto': 'http', 'x-forwarded-for': '203.0.113.9' },
  { forwarded: 'host=evil.example;proto=http', 'x-original-url': '/evil', 'x-rewrite-url': '/evil' },
  { 'x-http-method-override': 'POST', 'x-forwarded-prefix': '/evil', 'x-host': 'evil.example' },
  { accept: 'text/html', 'accept-language': 'tlh', origin: 'https://evil.example' },
  { authorization: 'Bearer evil', cookie: '_session=evil; _interaction=evil', range: 'bytes=0-3' },
]
const suffixes = ['', '?issuer=https://evil.example', '?callback=evil', '?utm=1&jwks_uri=evil']

test('T182: no header, query or cookie changes what a shared cache would keep of metadata and keys', async () => {
  for (const realm of realms) {
    for (const issuer of realm.issuers) {
      for (const path of ['/.well-known/openid-configuration', '/jwks']) {
        const plain = await realm.fetch(`${issuer}${path}`)
        const [body, type] = [await plain.text(), plain.headers.get('content-type')]
        assert.equal(plain.status, 200)
        for (const headers of forged) {
          for (const suffix of suffixes) {
            const answer = await realm.fetch(`${issuer}${path}${suffix}`, { headers })
            const where = `${path}${suffix} ${JSON.stringify(headers)}`
            assert.equal(await answer.text(), body, where)
            assert.deepEqual([answer.status, answer.headers.get('content-type')], [200, type], where)
            assert.equal(answer.headers.get('set-cookie'), null, where)
            assert.equal(answer.headers.get('access-control-allow-credentials'), null, where)
            // Said of one origin, it has to be kept for that one alone.
            const origin = answer.headers.get('access-control-allow-origin') ?? '*'
            assert.ok(origin === '*' || answer.headers.get('vary')?.includes('Origin'), where)
          }
        }
      }
    }
  }
})
