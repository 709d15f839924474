/**
 * Goal: a configuration means what it says or is refused with the line and member that are wrong, since a policy that was meant
 * and not understood is worse than none. Method: files with one mistake each.
 */

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { readWishes } from './config.ts'
import { audiences } from './world.ts'

const folder = mkdtempSync(join(tmpdir(), 'countersign-config-'))
after(() => rmSync(folder, { recursive: true }))
const file = join(folder, 'countersign.json')

function read(content: object | string): ReturnType<typeof readWishes> {
  writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content))
  return readWishes(file)
}

const foreign = '99999999-9999-4999-8999-999999999999'
const contoso = { id: '44444444-4444-4444-8444-444444444444', name: 'Contoso' }
const hal = { username: 'hal@contoso.example', tenant: contoso.id }

const application = 'https://application.example'
const partner = { issuer: 'https://login.partner.example', tenants: [contoso.id] }

/** Each with the complaint that must come. */
const byName = {
  client_id: 'mail',
  token_endpoint_auth_method: 'tls_client_auth',
  tls_client_auth_subject_dn: 'CN=mail,O=Acme',
  grant_types: ['client_credentials'],
}
const client_certificate = { header: 'x-client-cert', format: 'nginx', client_ca: 'clients.pem' }
const mutual_tls = {
  listen: { host: '127.0.0.1', port: 8443 },
  public_url: 'https://localhost:8443',
  key: 'mtls.key',
  cert: '/etc/mtls.crt',
  client_ca: 'clients.pem',
}

const mistakes: Readonly<Record<string, readonly [content: object | string, complaint: RegExp]>> = {
  'a realm elsewhere that has the name of one here': [
    { elsewhere: { consumer: partner } },
    /elsewhere\.consumer: is the name of something else here/,
  ],
  'clients elsewhere without a way in': [
    { elsewhere: { partner: { ...partner, clients: [{ name: 'p', certificate: { dns: 'p.example' } }] } } },
    /elsewhere\.partner\.clients: have no way in/,
  ],
  'a realm elsewhere that is nobody’s': [
    { elsewhere: { partner: { ...partner, tenants: [] } } },
    /elsewhere\.partner\.tenants: /,
  ],
  'a certificate that could be two': [
    {
      elsewhere: { partner: { ...partner, clients: [{ name: 'p', certificate: { dns: 'a', uri: 'a:b' } }] } },
    },
    /elsewhere\.partner\.clients\.0\.certificate/,
  ],
  'a member that nobody knows': [{ sentinal: {} }, /line 1: \(top\): Unrecognized key: "sentinal"/],
  'a member that is misspelt': [
    { sentinel: { autoblock: [] } },
    /^ {2}line 1: sentinel: Unrecognized key: "autoblock"$/m,
  ],
  'a reason that there is not': [
    { sentinel: { auto_block: ['receipt_mising'] } },
    /sentinel\.auto_block\.0: /,
  ],
  'a time without a unit': [{ charter: { max_ttl: '900' } }, /charter\.max_ttl: has no unit: s, m, h or d/],
  'a unit that nobody knows': [{ charter: { max_ttl: '15min' } }, /charter\.max_ttl: has a unit that is not/],
  'a time with a fraction': [{ charter: { max_ttl: '1.5h' } }, /charter\.max_ttl: must be a whole number/],
  'a fraction of a second': [{ charter: { max_ttl: 900.5 } }, /charter\.max_ttl: must be whole seconds/],
  'a time below zero': [
    { charter: { rotation_seconds: '-24h' } },
    /rotation_seconds: must be more than zero/,
  ],
  'no time at all': [
    { charter: { acknowledge_seconds: '0s' } },
    /acknowledge_seconds: must be more than zero/,
  ],
  'a time that is nothing': [
    { charter: { cache_seconds: null } },
    /cache_seconds: must be a number of seconds/,
  ],
  'a rotation for good': [{ charter: { rotation_seconds: '91d' } }, /rotation_seconds: .*at most 90d/],
  'tokens too short-lived for sign-in': [{ charter: { max_ttl: 60 } }, /charter\.max_ttl: .*at least 10m/],
  'keys that outlive their age': [
    { charter: { key_age_max: 3600 } },
    /charter\.key_age_max: key_age_max must be at least rotation_seconds and twice cache_seconds, 1460m/,
  ],
  'a key that signs before the slowest cache knows it': [
    { charter: { cache_seconds: 43_201 } },
    /charter\.cache_seconds: rotation_seconds must be at least twice cache_seconds/,
  ],
  'a rotation faster than the caches that are served': [
    { charter: { rotation_seconds: '19m' } },
    /charter\.rotation_seconds: rotation_seconds must be at least twice cache_seconds, 20m/,
  ],
  'an overlap shorter than the longest token': [
    { charter: { overlap_seconds: 3659 } },
    /charter\.overlap_seconds: overlap_seconds must be at least max_ttl and a minute, 61m/,
  ],
  'rotation never': [
    { charter: { rotation_seconds: 0 } },
    /charter\.rotation_seconds: must be more than zero/,
  ],
  'a credential in the address of a webhook': [
    { sentinel: { webhook: { url: 'https://a:b@c.example/', key: 'key' } } },
    /sentinel\.webhook\.url: a credential in a URL/,
  ],
  'two tenants in the consumer realm': [
    { realms: { consumer: { tenants: [contoso, { ...contoso, id: foreign }], people: [] } } },
    /realms\.consumer\.tenants: this realm is one tenant/,
  ],
  'people of a tenant elsewhere': [
    { realms: { enterprise: { people: [{ ...hal, tenant: foreign }] } } },
    /realms\.enterprise\.people\.0\.tenant: is no tenant of this realm/,
  ],
  'new tenants without people': [
    { realms: { enterprise: { tenants: [contoso] } } },
    /realms\.enterprise\.people: the sample people are of other tenants/,
  ],
  'a password that is too short': [
    { realms: { consumer: { people: [{ username: 'x', tenant: foreign, password: 'short' }] } } },
    /realms\.consumer\.people\.0\.password: /,
  ],
  'a grant that nobody should have': [
    { realms: { consumer: { clients: [{ client_id: 'x', grant_types: ['password'] }] } } },
    /realms\.consumer\.clients\.0\.grant_types\.0: /,
  ],
  'a client whose certificate nobody looks at': [
    { realms: { consumer: { clients: [byName] } } },
    /realms\.consumer\.clients\.0: nobody says what certificate it has/,
  ],
  'a client that is known by two names': [
    {
      realms: {
        consumer: { clients: [{ ...byName, tls_client_auth_san_dns: 'a.example' }], client_certificate },
      },
    },
    /realms\.consumer\.clients\.0: one tls_client_auth_ name/,
  ],
  'a client with a certificate and a secret': [
    { realms: { consumer: { clients: [{ ...byName, client_secret: 'x'.repeat(22) }], client_certificate } } },
    /realms\.consumer\.clients\.0: who has a certificate has no client_secret/,
  ],
  'certificates from two sides': [
    { realms: { consumer: { client_certificate, mutual_tls } } },
    /realms\.consumer\.mutual_tls: certificates come from client_certificate already/,
  ],
  'a gateway whose audience nobody issues tokens for': [
    { gateway: { audience: application } },
    /gateway\.audience: no realm issues tokens for it: name it in realms\.consumer\.resources/,
  ],
  'a route whose audience nobody issues tokens for': [
    { gateway: { routes: [{ path: '/' }, { path: '/x', audience: application }] } },
    /gateway\.routes\.1\.audience: no realm issues tokens for it/,
  ],
  'a route for a host that nobody names': [
    { gateway: { routes: [{ host: 'a.example', path: '/' }] } },
    /gateway\.routes\.0\.host: nobody says which host was asked/,
  ],
  'issuers that are not ours, for no reason': [
    { gateway: { issuers: [{ preset: 'keycloak', url: 'https://id.example', realm: 'staff' }] } },
    /gateway\.issuers: .*accept_without_receipt is missing/,
  ],
  'what is not for an operator to say of a gateway': [
    { gateway: { trust_anchor: '/tmp/anchor.json' } },
    /gateway: Unrecognized key: "trust_anchor"/,
  ],
  'an audience of the sample, once more': [
    { realms: { consumer: { resources: [{ audience: audiences.mail, scopes: [] }] } } },
    /realms\.consumer\.resources\.0\.audience: is there already/,
  ],
  'a realm that there is not': [{ realms: { business: {} } }, /realms: Unrecognized key: "business"/],
  'a member that stands twice': [
    '{"charter": {"max_ttl": 900, "max_ttl": 86400}}',
    /line 1: charter\.max_ttl: stands in it twice/,
  ],
  'no object at all': ['[]', /\(top\): .*expected object/],
  'a comment': ['{\n  // none\n}', /is not JSON \(line 2 column 3\)/],
}

for (const [mistake, [content, complaint]] of Object.entries(mistakes)) {
  test(`T239 a configuration is refused for ${mistake}`, () => {
    assert.throws(
      () => read(content),
      ({ message }: Error) => message.startsWith(file) && complaint.test(message),
    )
  })
}

test('K4 T239: each time that is wrong is shown by the line that it stands in, all at once', () => {
  const text = `{
  "charter": {
    "rotation_seconds": "15m",
    "max_ttl": "1h",
    "overlap_seconds":
      "1h",
    "acknowledge_seconds": "soon"
  }
}`
  assert.throws(() => read(text), { message: /line 7: charter\.acknowledge_seconds: must be a whole number/ })
  assert.throws(() => read(text.replace('soon', '1m')), {
    message: new RegExp(
      [
        `^${file} is not usable:`,
        '  line 5: charter\\.overlap_seconds: overlap_seconds must be at least .*',
        '  line 3: charter\\.rotation_seconds: rotation_seconds must be at least .*$',
      ].join('\n'),
    ),
  })
})

test('times are written in seconds, or with a unit', () => {
  const { charter } = read({
    charter: {
      rotation_seconds: '24h',
      key_age_max: '14d',
      max_ttl: '15 m',
      cache_seconds: '90s',
      acknowledge_seconds: 60,
    },
  })
  assert.deepEqual(charter, {
    rotation_seconds: 86_400,
    key_age_max: 1_209_600,
    max_ttl: 900,
    cache_seconds: 90,
    acknowledge_seconds: 60,
  })
})

test('T237 what is wrong is named, and secrets beside it are not', () => {
  const secret = 'correct horse battery staple'
  const people = [{ ...hal, password: secret, tenant: 'none' }]
  for (const content of [{ realms: { enterprise: { people } } }, `{"password": "${secret}"`, `"${secret}`]) {
    assert.throws(
      () => read(content),
      ({ message }: Error) => !message.includes('horse'),
    )
  }
})

test('what is left out stays out, and a key file lies beside the configuration that names it', () => {
  assert.deepEqual(read({}), {})
  const { sentinel } = read({ sentinel: { webhook: { url: 'https://alerts.example/', key: 'hook' } } })
  assert.equal(sentinel?.webhook?.key, join(folder, 'hook'))
  assert.equal(sentinel?.auto_block, undefined)
  const certificates = read({
    realms: { consumer: { client_certificate }, enterprise: { mutual_tls } },
  }).realms
  assert.equal(certificates?.consumer?.client_certificate?.client_ca, join(folder, 'clients.pem'))
  const { gateway } = read({ gateway: { dpop: { base: [application], nonce_secrets: 'nonces' } } })
  assert.equal(gateway?.dpop?.nonce_secrets, join(folder, 'nonces'))
  const { key, cert } = certificates?.enterprise?.mutual_tls ?? {}
  assert.deepEqual([key, cert], [join(folder, 'mtls.key'), '/etc/mtls.crt'])
  const { realms } = read({ realms: { enterprise: { tenants: [contoso], people: [hal] } } })
  assert.deepEqual(realms?.enterprise?.people, [hal])
})

test('what was read can be kept and read again, and means the same', () => {
  const wishes = read({
    charter: { max_ttl: 900 },
    sentinel: { auto_block: [], webhook: { url: 'https://alerts.example/', key: 'hook' } },
    realms: { enterprise: { clients: [{ client_id: 'portal', grant_types: ['client_credentials'] }] } },
  })
  assert.deepEqual(read(wishes), wishes)
})
