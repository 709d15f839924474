/**
 * Goal: a request meets the needs of where it goes, however its path is written and whoever reads it. Method: a table of
 * routes asked by hand, and every path that programs are known to read differently.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { collide, createRouter } from './routes.ts'

const routes = [
  { path: '/', name: 'all' },
  { path: '/admin', name: 'admin' },
  { path: '/admin/public', name: 'public of admin' },
  { path: '/public', name: 'public' },
  { path: '/mail', methods: ['GET', 'HEAD'], name: 'read' },
  { path: '/mail', methods: ['POST'], name: 'write' },
  { host: 'mail.example', path: '/', name: 'mail' },
  { host: '*.example', path: '/', name: 'any of example' },
  { host: '*.deep.example', path: '/inner', name: 'deep' },
]
const find = createRouter(routes)
const named = (target: string, method = 'GET', host?: string): string | undefined =>
  find({ target, method, host })?.name

test('the most specific wins: host, then path, then method', () => {
  assert.equal(named('/'), 'all')
  assert.equal(named('/adminx'), 'all')
  assert.equal(named('/admin'), 'admin')
  assert.equal(named('/admin/'), 'admin')
  assert.equal(named('/admin/users?a=/public'), 'admin')
  assert.equal(named('/admin/public/x'), 'public of admin')
  assert.equal(named('/mail/1'), 'read')
  assert.equal(named('/mail/1', 'POST'), 'write')
  assert.equal(named('/admin', 'GET', 'MAIL.example:8443'), 'mail')
  assert.equal(named('/admin', 'GET', 'mail.example.'), 'mail')
  assert.equal(named('/admin', 'GET', 'other.example'), 'any of example')
  assert.equal(named('/inner', 'GET', 'a.deep.example'), 'deep')
  assert.equal(named('/admin', 'GET', 'elsewhere.test'), 'admin')
})

test('what has no route has none: no shorter path, no wider host is taken instead', () => {
  assert.equal(named('/mail', 'DELETE'), undefined)
  assert.equal(named('/mail', 'get'), undefined)
  assert.equal(named('/outer', 'GET', 'a.deep.example'), undefined)
  assert.equal(createRouter([{ path: '/a' }])({ target: '/b', method: 'GET' }), undefined)
  assert.equal(createRouter([{ host: 'a.example', path: '/' }])({ target: '/', method: 'GET' }), undefined)
  assert.equal(
    createRouter([{ host: '*.example', path: '/' }])({ target: '/', method: 'GET', host: 'example' }),
    undefined,
  )
  for (const target of ['', '*', 'admin', 'http://a/admin', '?/admin', `/${'a'.repeat(9000)}`])
    assert.equal(named(target), undefined, target)
})

test('T248: a path that two programs could read as of two routes has none', () => {
  const ambiguous = [
    '/public/../admin',
    '/public/..;/admin',
    '/public/..;x=y/admin',
    '/public/%2e%2e/admin',
    '/public/%2E%2E%2Fadmin',
    '/public/..%2fadmin',
    '/public/..%252fadmin',
    '/public/%252e%252e/admin',
    '/public/..\\admin',
    '/public/..%5cadmin',
    '/public\\..\\admin',
    '/admin;x',
    '/%61dmin',
    '/%2561dmin',
    '//admin',
    '/./admin',
    '/x/../admin',
    '/ADMIN',
    '/Admin/public',
    '/admin/PUBLIC',
    '/admin//public',
    '/admin%2fpublic',
    '/a/%2e%2e/admin/%252e%252e/%252e%252e/a/x',
    '/public/.;/../admin',
    '/;a%2f%2f/%61dmin',
    '//../%5cadmin;a\\..;',
    '/admin%3Fx',
    '/admin%23x',
    '/admin%253fx',
    '/public%3F/../admin',
    '/admin.json',
    '/admin.json/',
    '/Admin.JSON',
    '/admin.',
    '/admin%2ejson',
    '/admin/public.xml',
  ]
  for (const target of ambiguous) assert.equal(named(target), undefined, target)
  for (const target of [
    '/admin%00',
    '/admin%0a',
    '/a\u0000',
    '/%ff',
    '/%',
    '/%u0061dmin',
    '/a\u200d',
    '/x#/../admin',
  ])
    assert.equal(named(target), undefined, target)
})

test('a path that is merely odd, and of one route for all, has that one', () => {
  const odd = {
    '/admin/a%20b': 'admin',
    '/admin/./x': 'admin',
    '/admin/x;y=1': 'admin',
    '/a/../b': 'all',
    '/index.html': 'all',
    '/what%3f': 'all',
    '/100%25': 'all',
    '/%25C3%25BC/100%2525': 'all',
    '/admin/%25/x': 'admin',
    '/admin/a.b': 'admin',
    '/v1.2/x': 'all',
    '/%C3%BC': 'all',
  }
  for (const [target, name] of Object.entries(odd)) assert.equal(named(target), name, target)
  const single = createRouter([{ path: '/', name: 'one' }])
  for (const target of ['/a/../b', '//x', '/ADMIN', '/a%2fb'])
    assert.equal(single({ target, method: 'GET' })?.name, 'one')
})

test('T248: whatever is written, who resolves it fully never ends below /admin without its route', () => {
  const piece = fc.constantFrom(
    '/',
    '//',
    '/.',
    '/..',
    '..;',
    '%2e',
    '%2f',
    '%252e',
    '%5c',
    '\\',
    'admin',
    'public',
    'ADMIN',
    ';a',
    'x',
    '%61dmin',
    '%3f',
  )
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 8 }), (pieces) => {
      const target = `/${pieces.join('')}`
      const name = named(target)
      if (name === undefined || name.includes('admin')) return
      // As a lenient application does it, with the URL parser of browsers.
      const read = decodeURIComponent(
        new URL(`http://a${target.replaceAll(/;[^/]*/g, '')}`).pathname,
      ).toLowerCase()
      assert.doesNotMatch(read.replaceAll(/[\\/]+/g, '/'), /^\/admin([/?]|$)/, target)
    }),
    { seed: 6, numRuns: 3000 },
  )
})

test('T248: a host that programs read in several ways has no route, where a route names one', () => {
  for (const host of ['MAIL.example:', 'mail.example:0008443', 'mail.example.:443'])
    assert.equal(named('/', 'GET', host), 'mail', host)
  for (const host of [
    'mail.example..',
    'mail.example,x',
    'x,mail.example',
    'x@mail.example',
    'mail.example:8o',
  ])
    assert.equal(named('/', 'GET', host), undefined, host)
  for (const host of [
    'mail.example:443.',
    'mail.example/x',
    'mail%2eexample',
    ' mail.example',
    '[mail.example]',
  ])
    assert.equal(named('/', 'GET', host), undefined, host)
  for (const host of ['', '[::1]:8443']) assert.equal(named('/', 'GET', host), 'all')
  const anywhere = createRouter([{ path: '/' }])
  for (const host of ['', 'x,y']) assert.ok(anywhere({ target: '/', method: 'GET', host }))
})

test('an ending chooses no format where a route is named with it', () => {
  const both = createRouter([{ path: '/' }, { path: '/feed' }, { path: '/feed.xml' }])
  assert.equal(both({ target: '/feed.xml', method: 'GET' })?.path, '/feed.xml')
  assert.equal(both({ target: '/feed', method: 'GET' })?.path, '/feed')
  assert.equal(both({ target: '/feed.json', method: 'GET' }), undefined)
})

test('two routes that one request could have are told', () => {
  assert.ok(collide({ path: '/a' }, { path: '/A' }))
  assert.ok(collide({ path: '/a', methods: ['GET'] }, { path: '/a', methods: ['POST', 'GET'] }))
  assert.ok(!collide({ path: '/a', methods: ['GET'] }, { path: '/a' }))
  assert.ok(!collide({ path: '/a', methods: ['GET'] }, { path: '/a', methods: ['POST'] }))
  assert.ok(!collide({ path: '/a', host: 'a.example' }, { path: '/a' }))
})
