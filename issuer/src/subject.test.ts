/**
 * Goal: a certificate passes for a client by exactly the name that was registered, and by nothing that merely looks like it.
 * Method: certificates with odd names, made on the spot; each kind of name in spellings that mean the same and in ones that
 * do not.
 */

import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { test } from 'node:test'
import { createTestCertificate, type TestCertificateOptions } from '@countersign/validator/test-certificate'
import { readDistinguishedName, type SubjectProperty, subjectChecks } from './subject.ts'

const ou = '2.5.4.11'
const o = '2.5.4.10'

const plain = made('mail', {
  attributes: [
    ['2.5.4.6', 'DE'],
    [o, 'Acme, Inc.'],
  ],
})
const odd = made('a=b', {
  attributes: [
    ['1.2.840.113549.1.9.1', 'a@b.example'],
    ['1.3.6.1.4.1.99999.1', 'Zoë'],
    [o, 'x\nCN=mail'],
    [ou, ' #1 + "2" '],
  ],
})

for (const [certificate, name, matches] of [
  [plain, 'CN=mail,O=Acme\\, Inc.,C=DE', true],
  [plain, 'cn = mail, 2.5.4.10=Acme\\2C Inc. , countryName=DE', true],
  [plain, 'CN=mail,O=Acme\\, Inc.', false],
  [plain, 'CN=mail', false],
  [plain, 'C=DE,O=Acme\\, Inc.,CN=mail', false],
  [plain, 'CN=Mail,O=Acme\\, Inc.,C=DE', false],
  [plain, 'CN=mail+O=Acme\\, Inc.,C=DE', false],
  [plain, 'CN=mail,O=Acme,CN= Inc.,C=DE', false],
  [plain, 'CN=*,O=Acme\\, Inc.,C=DE', false],
  [
    odd,
    'CN=a\\=b,OU=\\20#1 \\+ \\"2\\"\\ ,O=x\\0ACN\\=mail,1.3.6.1.4.1.99999.1=Zo\\C3\\AB,E=a@b.example',
    true,
  ],
  [odd, 'CN=a=b,OU=\\ \\#1 \\+ \\22 2\\22\\20,O=x\\0aCN=mail,1.3.6.1.4.1.99999.1=Zoë,E=a@b.example', false],
  [odd, 'CN=a=b,OU=\\ \\#1 \\+ \\"2\\"\\20,O=x\\0aCN=mail,1.3.6.1.4.1.99999.1=Zoë,E=a@b.example', true],
  [odd, 'CN=mail', false],
  [made('', {}), 'CN=', true],
] as const)
  test(`RFC 8705 T159: the name ${name} is ${matches ? '' : 'not '}that of ${certificate.subject.replaceAll('\n', '/')}`, () =>
    assert.equal(subjectChecks.tls_client_auth_subject_dn(certificate, name), matches))

test('attributes of one relative name come in any order', () => {
  assert.equal(readDistinguishedName('OU=b+CN=a,O=c'), readDistinguishedName('CN=a + OU=b, O=c'))
  assert.notEqual(readDistinguishedName('OU=b+CN=a,O=c'), readDistinguishedName('OU=b,CN=a,O=c'))
})

test('T239: what is no distinguished name is none', () => {
  for (const text of [
    '',
    ',',
    'mail',
    'CN=a,',
    'CN=a+',
    ',CN=a',
    'CN=a,,O=b',
    'CN="a"',
    'CN=a;O=b',
    'CN=#0401',
    'CN=a\\',
    'CN=a\\z',
    'CN=\\ff',
    'XX=a',
    '1=a',
    'CN',
    '=a',
    `CN=a${' '.repeat(50_000)}"`,
    `CN=a${' '.repeat(50_000)}\\`,
    `CN=${'\\'.repeat(50_001)}`,
    `CN=${'\\'.repeat(50_000)}a;`,
  ])
    assert.equal(readDistinguishedName(text), undefined, text.slice(0, 20))
})

const named = made('cn.example', {
  names: {
    dns: 'mail.example',
    uri: 'spiffe://a/b,URI:spiffe://evil',
    email: 'Ops@mail.example',
    ip: Buffer.from([10, 0, 0, 1]),
  },
})
const wild = made('cn.example', { names: { dns: '*.example', uri: 'spiffe://a/b' } })

for (const [certificate, property, value, matches] of [
  [named, 'dns', 'mail.example', true],
  [named, 'dns', 'MAIL.example', true],
  [named, 'dns', 'cn.example', false],
  [named, 'dns', 'a.mail.example', false],
  [wild, 'dns', 'mail.example', false],
  [wild, 'uri', 'spiffe://a/b', true],
  [wild, 'uri', 'spiffe://a', false],
  [named, 'uri', 'spiffe://a/b,URI:spiffe://evil', true],
  [named, 'uri', 'spiffe://a/b', false],
  [named, 'uri', 'spiffe://evil', false],
  [named, 'ip', '10.0.0.1', true],
  [named, 'ip', '10.0.0.10', false],
  [named, 'email', 'Ops@mail.example', true],
  [named, 'email', 'ops@mail.example', false],
  [named, 'email', 'mail.example', false],
  [made('cn.example', { names: {} }), 'dns', 'cn.example', false],
] as const)
  test(`RFC 8705 T159: ${property} ${value} is ${matches ? '' : 'not '}in ${certificate.subjectAltName}`, () =>
    assert.equal(
      subjectChecks[`tls_client_auth_san_${property}` as SubjectProperty](certificate, value),
      matches,
    ))

function made(name: string, options: TestCertificateOptions): X509Certificate {
  return new X509Certificate(createTestCertificate(name, options).der)
}
