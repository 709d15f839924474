/**
 * Goal: behind a real proxy, set up as docs/client-certificates.md says, a client gets its token with its certificate and with
 * nothing else. Method: Debian's nginx with the file of that page, certificates by the commands of that page, curl as the client.
 */

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { promisify } from 'node:util'
import { decodeJwt } from 'jose'
import { clientIds, startTestIssuer } from '../issuer/src/testing.ts'
import { createTestCertificate } from '../validator/src/test-certificate.ts'
import { blocksOf } from './blocks.ts'
import { findProgram, startServer } from './edge.ts'
import { freePort } from './ports.ts'

const page = 'docs/client-certificates.md'

test('J5 T158 RFC 8705 nginx: a client gets a token with its certificate, and nobody by a header', async (t: TestContext) => {
  const nginx = findProgram('nginx')
  if (nginx === undefined || findProgram('openssl') === undefined || findProgram('curl') === undefined)
    return t.skip('nginx, openssl or curl is missing')
  const folder = mkdtempSync(join(tmpdir(), 'client-certificates-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const [make = '', use = ''] = blocksOf(page, 'sh')
  const run = async (script: string): Promise<string> =>
    (await promisify(execFile)('sh', ['-ec', script], { cwd: folder })).stdout
  await run(make)

  const [configuration = ''] = blocksOf(page, 'json')
  const { client_certificate } = JSON.parse(configuration) as {
    client_certificate: { header: string; format: 'nginx'; client_ca: string; public_url: string }
  }
  const [, , seed = ''] = blocksOf(page, 'json')
  const [{ client_id: _, ...mail }] = JSON.parse(seed.replaceAll('…', '')) as [{ client_id: string }]
  const issuer = await startTestIssuer('consumer', {
    settings: { client_certificate: { ...client_certificate, client_ca: join(folder, 'clients.pem') } },
    clients: { [clientIds.service]: { client_secret: undefined, ...mail } },
  })
  t.after(() => issuer.stop())

  const [port, own] = [await freePort(), createTestCertificate('mtls.login.example')]
  const home = join(folder, 'nginx')
  writeFileSync(join(folder, 'login.pem'), own.pem)
  const [written = ''] = blocksOf(page, 'nginx')
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((kind) => `${kind}_temp_path ${home}/${kind};`)
    .join(' ')
  const files = {
    'nginx.conf': `daemon off; worker_processes 1; pid ${home}/pid; error_log stderr;
      events {} http { access_log off; ${temporary} include ${home}/login.conf; }`,
    'login.conf': written
      .replaceAll('listen 443', `listen 127.0.0.1:${port}`)
      .replaceAll('http://127.0.0.1:8402', issuer.url)
      .replaceAll('/etc/nginx', home),
    'login.crt': own.pem,
    'login.key': own.privateKey,
  }
  chmodSync(folder, 0o755)
  const server = await startServer(nginx, port, home, files, ['-c', join(home, 'nginx.conf'), '-e', 'stderr'])
  t.after(() => server.stop())

  /** The command of the page, changed. */
  const ask = async (change: (command: string) => string = (command) => command) => {
    const reach = `--cacert login.pem --resolve mtls.login.example:${port}:127.0.0.1`
    const command = use
      .replace('client_id=mail', `client_id=${clientIds.service}`)
      .replace('https://mtls.login.example', `${reach} https://mtls.login.example:${port}`)
    return JSON.parse(await run(change(command))) as Readonly<Record<string, string>>
  }
  const answer = await ask()
  const thumbprint = new X509Certificate(readFileSync(join(folder, 'mail.pem'))).fingerprint256.replaceAll(
    ':',
    '',
  )
  assert.deepEqual(decodeJwt(answer['access_token'] ?? '')['cnf'], {
    'x5t#S256': Buffer.from(thumbprint, 'hex').toString('base64url'),
  })

  const other = createTestCertificate('mail', { attributes: [['2.5.4.10', 'Acme']] })
  writeFileSync(join(folder, 'other.pem'), other.pem)
  writeFileSync(join(folder, 'other.key'), other.privateKey)
  const header = `-H 'X-Client-Cert: ${encodeURIComponent(readFileSync(join(folder, 'mail.pem'), 'utf8'))}'`
  const without = (command: string): string => command.replace('--cert mail.pem --key mail.key', '')
  for (const [what, change] of Object.entries({
    'no certificate': without,
    'a certificate of the same name by nobody': (command: string) =>
      command.replace('mail.pem', 'other.pem').replace('mail.key', 'other.key'),
    'a header alone': (command: string) => without(command).replace('curl', `curl ${header}`),
    'a header at the other host': (command: string) =>
      without(command).replace('curl', `curl ${header} -k`).replaceAll('mtls.login', 'login'),
    'a header beside another certificate': (command: string) =>
      command.replace('--cert mail.pem --key mail.key', `--cert other.pem --key other.key ${header}`),
  }))
    assert.equal((await ask(change))['error'], 'invalid_client', what)
})
