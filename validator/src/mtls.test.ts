/**
 * Goal: a token that is bound to a certificate counts over a connection with that certificate, and what a header says of
 * one counts only from the proxy. Method: the example of RFC 8705; a TLS server and clients on loopback; each form in which
 * proxies write a certificate, right and spoilt.
 */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, request } from 'node:https'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import type { TLSSocket } from 'node:tls'
import fc from 'fast-check'
import { createGuard, type GuardedRequest } from './guard.ts'
import { type CertificateFormat, certificateFormats, type ForwardedCertificate, mtls } from './mtls.ts'
import { createTestCertificate } from './test-certificate.ts'
import { createTestWorld, mailAudience } from './testing.ts'
import { createValidator } from './validator.ts'

const world = createTestWorld()
const validator = createValidator({
  realm: 'enterprise',
  audience: mailAudience,
  trust: world.trust,
  requireBinding: true,
  now: () => world.now,
})
const [own, twin] = [createTestCertificate('client.example'), createTestCertificate('client.example')]
const token = issueTo({ 'x5t#S256': own.thumbprint })

/** RFC 8705, appendix A. */
const example = `-----BEGIN CERTIFICATE-----
MIIBBjCBrAIBAjAKBggqhkjOPQQDAjAPMQ0wCwYDVQQDDARtdGxzMB4XDTE4MTAx
ODEyMzcwOVoXDTIyMDUwMjEyMzcwOVowDzENMAsGA1UEAwwEbXRsczBZMBMGByqG
SM49AgEGCCqGSM49AwEHA0IABNcnyxwqV6hY8QnhxxzFQ03C7HKW9OylMbnQZjjJ
/Au08/coZwxS7LfA4vOLS9WuneIXhbGGWvsDSb0tH6IxLm8wCgYIKoZIzj0EAwID
SQAwRgIhAP0RC1E+vwJD/D1AGHGzuri+hlV/PpQEKTWUVeORWz83AiEA5x2eXZOV
bUlJSGQgjwD5vaUaKlLR50Q2DmFfQj1L+SY=
-----END CERTIFICATE-----
`

test('the certificate of RFC 8705 has the hash that stands there', async () => {
  const bound = issueTo({ 'x5t#S256': 'A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0' })
  assert.equal(await ask('nginx', [encodeURIComponent(example)], { bound }), 'accepted')
})

test('T159: over TLS, the certificate counts and its subject does not', async () => {
  const server = createServer({
    key: own.privateKey,
    cert: own.pem,
    requestCert: true,
    rejectUnauthorized: false,
  })
  const guard = createGuard(validator, { bindings: [mtls({ from: 'connection' })] })
  server.on('request', async (incoming, response) => {
    const { rawHeaders, method = '', url: target = '' } = incoming
    const certificate = (): Uint8Array | undefined =>
      (incoming.socket as TLSSocket).getPeerX509Certificate()?.raw
    const admission = await guard.admit({ source: incoming, rawHeaders, method, target, certificate })
    response.end(admission.admitted ? 'accepted' : admission.denial.reason)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const get = async (options: object, headers: object = {}): Promise<string> => {
    const asked = request({ port, host: '127.0.0.1', rejectUnauthorized: false, agent: false, ...options })
    for (const [name, value] of Object.entries({ authorization: `Bearer ${token}`, ...headers }))
      asked.setHeader(name, value)
    const [answer] = await once(asked.end(), 'response')
    return text(answer)
  }
  assert.equal(await get({ key: own.privateKey, cert: own.pem }), 'accepted')
  assert.equal(await get({ key: twin.privateKey, cert: twin.pem }), 'sender_mismatch')
  assert.equal(await get({}), 'sender_mismatch')
  // T158: a header is nothing where the connection is asked.
  assert.equal(await get({}, { 'client-cert': `:${own.der.toString('base64')}:` }), 'sender_mismatch')
  server.close()
})

const base64 = own.der.toString('base64')
const hex = Buffer.from(own.thumbprint, 'base64url').toString('hex')
const escaped = encodeURIComponent(own.pem)
const envoy = `By=spiffe://mesh/mail;Hash=${hex};Cert="${escaped}";Subject="CN=a\\"b,O=c;d";URI=;DNS=a.example;DNS=b.example`
const shifted = Buffer.concat([own.der, Buffer.from([0])])

for (const [format, what, values, expected] of [
  ['nginx', 'escaped PEM', [escaped], 'accepted'],
  ['nginx', 'PEM that leaves alone what may stand', [encodeURI(own.pem)], 'accepted'],
  ['nginx', 'no certificate', [''], 'sender_mismatch'],
  ['nginx', 'no certificate, as a dash', ['-'], 'sender_mismatch'],
  ['nginx', 'no header', [], 'sender_mismatch'],
  ['nginx', 'T159: that of the same subject', [encodeURIComponent(twin.pem)], 'sender_mismatch'],
  ['nginx', 'T158: two headers', [escaped, escaped], 'malformed'],
  ['nginx', 'two certificates', [encodeURIComponent(own.pem + twin.pem)], 'malformed'],
  ['nginx', 'a wrong escape', ['%zz'], 'malformed'],
  ['nginx', 'a private key', [encodeURIComponent(own.privateKey)], 'malformed'],
  ['nginx', 'DER', [base64], 'malformed'],
  ['nginx', 'white space without end', [`-----BEGIN CERTIFICATE-----${'%20'.repeat(20_000)}`], 'malformed'],
  ['envoy', 'one element', [envoy], 'accepted'],
  ['envoy', 'a hash alone', [`Hash=${hex}`], 'accepted'],
  ['envoy', 'a certificate alone', [`cert="${escaped}"`], 'accepted'],
  ['envoy', 'T158: an element of another hop in front', [`Hash=${hex},${envoy}`], 'malformed'],
  ['envoy', 'T158: two headers', [envoy, envoy], 'malformed'],
  ['envoy', 'two hashes', [`Hash=${hex};Hash=${'0'.repeat(64)}`], 'malformed'],
  ['envoy', 'a hash of another certificate', [`Hash=${'0'.repeat(64)};Cert="${escaped}"`], 'malformed'],
  ['envoy', 'a hash that is none', ['Hash=abc'], 'malformed'],
  ['envoy', 'neither', ['By=spiffe://mesh/mail'], 'malformed'],
  ['envoy', 'an open quote', [`Subject="CN=a;Hash=${hex}`], 'malformed'],
  ['envoy', 'T158: a hash inside a quoted subject', [`Subject="CN=x;Hash=${hex}";By=a`], 'malformed'],
  ['rfc9440', 'a byte sequence', [`:${base64}:`], 'accepted'],
  ['rfc9440', 'without colons', [base64], 'malformed'],
  ['rfc9440', 'with a parameter', [`:${base64}:;a=1`], 'malformed'],
  ['rfc9440', 'a list', [`:${base64}:, :${base64}:`], 'malformed'],
  ['rfc9440', 'nothing between', ['::'], 'malformed'],
  ['rfc9440', 'base64url', [`:${own.der.toString('base64url')}-_:`], 'malformed'],
  ['base64', 'DER', [base64], 'accepted'],
  ['base64', 'a byte more', [shifted.toString('base64')], 'malformed'],
  ['base64', 'a byte less', [own.der.subarray(0, -1).toString('base64')], 'malformed'],
  ['base64', 'spaces inside', [`${base64.slice(0, 8)} ${base64.slice(8)}`], 'malformed'],
  ['base64', 'bytes that are no certificate', [Buffer.from('certificate').toString('base64')], 'malformed'],
] as const) {
  test(`${format}: ${what}: ${expected}`, async () => {
    assert.equal(await ask(format, values), expected)
  })
}

test('T158 T249: the header of anybody but the proxy is not looked at', async () => {
  for (const [peer, expected] of [
    ['10.0.0.1', 'accepted'],
    ['::ffff:10.0.0.1', 'accepted'],
    ['10.0.0.10', 'sender_mismatch'],
    ['203.0.113.9', 'sender_mismatch'],
    [undefined, 'sender_mismatch'],
  ] as const)
    assert.equal(await ask('base64', [base64], { peer }), expected, String(peer))
  // Nor is what a stranger spoils worth an answer of its own.
  assert.equal(await ask('base64', ['?'], { peer: '203.0.113.9' }), 'sender_mismatch')
})

test('the proxy is known by its address, however that is written', async () => {
  for (const [peer, written] of [
    ['::1', '0:0:0:0:0:0:0:1'],
    ['2001:db8::1', '2001:DB8::0:1'],
    ['10.0.0.1', '::ffff:a00:1'],
    ['fe80::1%eth0', 'fe80::1%eth0'],
  ] as const) {
    const options = { from: { header: 'client-cert', format: 'base64', peers: [written] } } as const
    const guard = createGuard(validator, { bindings: [mtls(options)] })
    const asked = { ...requestFor(['client-cert', base64], token), peer }
    assert.ok((await guard.admit(asked)).admitted, written)
  }
})

test('T080: of two bindings both are asked, and of an unknown one nobody can be', async () => {
  const bound = (cnf: object): Promise<string> => ask('base64', [base64], { bound: issueTo(cnf) })
  assert.equal(await bound({ 'x5t#S256': own.thumbprint, jkt: 'A'.repeat(43) }), 'sender_mismatch')
  assert.equal(await bound({ 'x5t#S256': own.thumbprint, 'x5t#S512': 'A' }), 'sender_mismatch')
  assert.equal(await bound({ 'x5t#S256': 7 }), 'sender_mismatch')
  assert.equal(await bound({}), 'sender_mismatch')
})

test('a certificate with a token that is bound to nothing proves nothing, and does no harm', async () => {
  const open = createValidator({
    realm: 'enterprise',
    audience: mailAudience,
    trust: world.trust,
    now: () => world.now,
  })
  const options = { from: { header: 'client-cert', format: 'base64', peers: ['10.0.0.1'] } } as const
  const bearer = world.issue({ realm: 'enterprise' })
  const asked = requestFor(['client-cert', base64], bearer)
  assert.ok((await createGuard(open, { bindings: [mtls(options)] }).admit(asked)).admitted)
  const bound = createGuard(validator, { bindings: [mtls(options)] })
  assert.ok(!(await bound.admit(requestFor(['client-cert', base64], bearer))).admitted)
})

test('T158: whatever stands in the header, nothing is thrown, and nothing but the certificate is taken for it', async () => {
  const pieces = [
    base64,
    escaped,
    hex,
    'Hash=',
    'Cert=',
    '"',
    ';',
    ',',
    ':',
    '%',
    '%2',
    '\\',
    ' ',
    '-',
    '=',
    '-----BEGIN CERTIFICATE-----',
  ]
  const values = fc.array(fc.oneof(fc.constantFrom(...pieces), fc.string())).map((parts) => parts.join(''))
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...certificateFormats), values, async (format, value) => {
      const outcome = await ask(format, [value])
      assert.ok(outcome !== 'accepted' || [base64, hex, escaped].some((part) => value.includes(part)), value)
    }),
    { numRuns: 2000 },
  )
})

test('T239: a header without its format or proxy is no setting', () => {
  const good = { header: 'client-cert', format: 'rfc9440', peers: ['127.0.0.1'] } as const
  const wrongPeers = [[], ['10.0.0.0/8'], ['localhost'], ['127.0.0.1', '127.0.0.1 ']].map((peers) => ({
    peers,
  }))
  for (const wrong of [{ header: '' }, { header: 'a b' }, { format: 'pem' }, ...wrongPeers])
    assert.throws(() => mtls({ from: { ...good, ...wrong } as ForwardedCertificate }), TypeError)
})

function issueTo(cnf: object): string {
  return world.issue({ realm: 'enterprise', claims: { cnf } })
}

async function ask(
  format: CertificateFormat,
  values: readonly string[],
  options: { readonly bound?: string; readonly peer?: string | undefined } = {},
): Promise<string> {
  const { bound = token, peer } = { peer: '10.0.0.1', ...options }
  const from = { header: 'X-Client-Cert', format, peers: ['10.0.0.1'] }
  const guard = createGuard(validator, { bindings: [mtls({ from })] })
  const headers = values.flatMap((value) => ['x-client-CERT', value])
  const admission = await guard.admit({ ...requestFor(headers, bound), peer })
  if (admission.admitted) return 'accepted'
  const { reason, body } = admission.denial
  assert.equal(reason, 'sender_mismatch')
  return body['error_description']?.includes('not well-formed') ? 'malformed' : reason
}

function requestFor(headers: readonly string[], bearer: string): GuardedRequest {
  const rawHeaders = ['Authorization', `Bearer ${bearer}`, ...headers]
  return { source: {}, rawHeaders, method: 'GET', target: '/mail', peer: '10.0.0.1' }
}
