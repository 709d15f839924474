/**
 * Goal: what a client binds its tokens to stays with them through refresh and exchange, where a nonce is asked for one is
 * given, and what a certificate is, the proxy alone says. Method: an issuer with both, over HTTP, as clients and a proxy use it.
 */

import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { createTestCertificate } from '@countersign/validator/test-certificate'
import { createTestHolder } from '@countersign/validator/test-proof'
import { decodeJwt } from 'jose'
import { tokenExchange } from './config.ts'
import { type Answer, codeFrom, post } from './flows.ts'
import { callback, clientIds, startTestIssuer } from './testing.ts'

const header = 'x-client-cert'
const format = 'nginx'
const boundToCertificate = { tls_client_certificate_bound_access_tokens: true }
const [own, twin] = [createTestCertificate('client.example'), createTestCertificate('client.example')]
const accessTokenType = 'urn:ietf:params:oauth:token-type:access_token'

const issuer = await startTestIssuer('consumer', {
  settings: { client_certificate: { header, format } },
  clients: { [clientIds.service]: boundToCertificate, [clientIds.web]: boundToCertificate },
})
const strict = await startTestIssuer('enterprise', { settings: { dpop: { nonce_required: true } } })
const plain = await startTestIssuer('consumer')
after(() => Promise.all([issuer.stop(), strict.stop(), plain.stop()]))

test('RFC 8705: a token is bound to the certificate that the proxy names, and without one there is none', async () => {
  const ask = (headers: Record<string, string> = {}): Promise<Answer> =>
    post(issuer, '/token', clientIds.service, { grant_type: 'client_credentials' }, { headers })
  const answer = await ask(shown(own))
  assert.equal(answer['token_type'], 'Bearer')
  assert.deepEqual(decodeJwt(answer.access_token ?? '')['cnf'], { 'x5t#S256': own.thumbprint })
  for (const headers of [{}, { [header]: '' }, { [header]: 'nonsense' }, { 'client-cert': 'elsewhere' }])
    assert.notEqual((await ask(headers as Record<string, string>)).error, undefined)
  const introspected = await post(issuer, '/introspect', clientIds.service, {
    token: answer.access_token ?? '',
  })
  assert.equal(introspected['active'], true)
  assert.equal(introspected['token_type'], 'Bearer')
  assert.deepEqual(introspected['cnf'], { 'x5t#S256': own.thumbprint })
  const metadata = await issuer.fetch(`${issuer.issuers[0]}/.well-known/openid-configuration`)
  const { tls_client_certificate_bound_access_tokens: announced } = (await metadata.json()) as Record<
    string,
    unknown
  >
  assert.equal(announced, true)
})

test('T157 T159: a refresh token of a bound token is bound to the same certificate', async () => {
  const code = await codeFrom(issuer, { scope: 'openid offline_access mail.read', prompt: 'consent' })
  const grant = {
    grant_type: 'authorization_code',
    code: code.code,
    code_verifier: code.verifier ?? '',
    redirect_uri: callback,
  }
  const answer = await post(issuer, '/token', clientIds.web, grant, { headers: shown(own) })
  assert.deepEqual(decodeJwt(answer.access_token ?? '')['cnf'], { 'x5t#S256': own.thumbprint })
  const refresh = (headers: Record<string, string>): Promise<Answer> => {
    const form = { grant_type: 'refresh_token', refresh_token: answer.refresh_token ?? '' }
    return post(issuer, '/token', clientIds.web, form, { headers })
  }
  assert.equal((await refresh({})).error, 'invalid_grant')
  assert.equal((await refresh(shown(twin))).error, 'invalid_grant')
  const next = await refresh(shown(own))
  assert.deepEqual(decodeJwt(next.access_token ?? '')['cnf'], { 'x5t#S256': own.thumbprint })
})

test('T161 T200: a token that is bound to a certificate is exchanged with it, and stays bound', async () => {
  const credentials = { grant_type: 'client_credentials' }
  const subject = await post(issuer, '/token', clientIds.service, credentials, { headers: shown(own) })
  const exchange = (headers: Record<string, string>): Promise<Answer> => {
    const form = {
      grant_type: tokenExchange,
      subject_token: subject.access_token ?? '',
      subject_token_type: accessTokenType,
    }
    return post(issuer, '/token', clientIds.mailService, form, { headers })
  }
  assert.equal((await exchange({})).error, 'invalid_grant')
  assert.equal((await exchange(shown(twin))).error, 'invalid_grant')
  const proof = createTestHolder().prove({ method: 'POST', url: `${issuer.issuers[0]}/token` })
  assert.equal((await exchange({ ...shown(own), dpop: proof })).error, 'invalid_grant')
  const answer = await exchange(shown(own))
  assert.equal(answer['token_type'], 'Bearer')
  assert.deepEqual(decodeJwt(answer.access_token ?? '')['cnf'], { 'x5t#S256': own.thumbprint })
})

test('T239: who is to bind tokens to certificates has to be told where they are', async () => {
  const start = startTestIssuer('consumer', { clients: { [clientIds.service]: boundToCertificate } })
  await assert.rejects(start, /client_certificate is missing, and tokens of service/)
})

test('T157: a code that is bound to a key is redeemed with a proof by that key', async () => {
  const [holder, thief] = [createTestHolder(), createTestHolder()]
  const redeem = async (by: typeof holder | undefined): Promise<Answer> => {
    const { code, verifier = '' } = await codeFrom(plain, { dpop_jkt: holder.jkt })
    const grant = { grant_type: 'authorization_code', code, code_verifier: verifier, redirect_uri: callback }
    const dpop = by?.prove({ method: 'POST', url: `${plain.issuers[0]}/token` })
    return post(plain, '/token', clientIds.web, grant, { headers: { ...(dpop && { dpop }) } })
  }
  assert.equal((await redeem(thief)).error, 'invalid_grant')
  assert.equal((await redeem(undefined)).error, 'invalid_grant')
  const answer = await redeem(holder)
  assert.deepEqual(decodeJwt(answer.access_token ?? '')['cnf'], { jkt: holder.jkt })
})

test('T152: where a nonce is required, the first refusal brings one, and an old one is told from ours', async () => {
  const url = `${strict.issuers[0]}/token`
  const holder = createTestHolder()
  const ask = async (
    nonce?: string,
  ): Promise<{ readonly status: number; readonly nonce: string; readonly body: Answer }> => {
    const secret = strict.secrets[clientIds.service] ?? ''
    const basic = [clientIds.service, secret].map(encodeURIComponent).join(':')
    const response = await strict.fetch(url, {
      method: 'POST',
      headers: {
        authorization: `Basic ${Buffer.from(basic).toString('base64')}`,
        dpop: holder.prove({ method: 'POST', url }, { nonce }),
        'content-type': 'application/x-www-form-urlencoded',
      },
      body: 'grant_type=client_credentials',
    })
    const body = (await response.json()) as Answer
    return { status: response.status, nonce: response.headers.get('dpop-nonce') ?? '', body }
  }
  const first = await ask()
  assert.deepEqual([first.status, first.body.error], [400, 'use_dpop_nonce'])
  assert.equal((await ask('A'.repeat(43))).body.error, 'use_dpop_nonce')
  const second = await ask(first.nonce)
  assert.equal(second.body['token_type'], 'DPoP')
  assert.deepEqual(decodeJwt(second.body.access_token ?? '')['cnf'], { jkt: holder.jkt })
})

function shown({ pem }: { readonly pem: string }): Record<string, string> {
  return { [header]: encodeURIComponent(pem) }
}
