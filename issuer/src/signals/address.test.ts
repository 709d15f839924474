/**
 * Goal: an address counts as a receiver's only if it is anybody's on the Internet (T217). Method: one address of each
 * network that is not, in each spelling that a resolver or a URL can give; beside the first and last address outside.
 */

import assert from 'node:assert/strict'
import test from 'node:test'
import { isLoopbackAddress, isPublicAddress } from './address.ts'

const inside: readonly (readonly [what: string, ...addresses: string[]])[] = [
  ['this host', '0.0.0.0', '0.255.255.255', '::'],
  ['private', '10.0.0.1', '10.255.255.255', '172.16.0.1', '172.31.255.255', '192.168.0.1', '192.168.255.255'],
  ['behind a carrier', '100.64.0.1', '100.127.255.255'],
  ['loopback', '127.0.0.1', '127.255.255.254', '::1'],
  ['link-local', '169.254.0.1', 'fe80::1', 'fe80::1%eth0', 'febf::1'],
  [
    'metadata of clouds',
    '169.254.169.254',
    '169.254.170.2',
    '100.100.100.200',
    '192.0.0.192',
    '168.63.129.16',
    'fd00:ec2::254',
  ],
  ['protocol assignments', '192.0.0.1', '2001::1', '2001:1ff::1'],
  ['documentation', '192.0.2.1', '198.51.100.1', '203.0.113.1', '2001:db8::1', '3fff::1', '3fff:fff::1'],
  ['6to4 and its relays', '192.88.99.1', '2002:7f00:1::', '2002:a00:1::1'],
  ['benchmarks', '198.18.0.1', '198.19.255.255'],
  ['multicast', '224.0.0.1', '239.255.255.255', 'ff02::1'],
  ['reserved and broadcast', '240.0.0.1', '255.255.255.255'],
  [
    'IPv4 in IPv6',
    '::ffff:127.0.0.1',
    '::ffff:7f00:1',
    '::ffff:10.0.0.1',
    '::ffff:8.8.8.8',
    '::127.0.0.1',
    '::ffff:0:127.0.0.1',
  ],
  ['NAT64', '64:ff9b::127.0.0.1', '64:ff9b::808:808', '64:ff9b:1::1'],
  ['unique local', 'fc00::1', 'fdff:ffff::1'],
  ['site-local and what is not assigned', 'fec0::1', '100::1', '4000::1', '1fff:ffff::1'],
  ['Teredo', '2001:0:53aa:64c::1'],
  [
    'no address',
    '',
    'localhost',
    '127.1',
    '0x7f000001',
    '2130706433',
    '1.2.3',
    '1.2.3.4.5',
    '[::1]',
    '8.8.8.8 ',
    '8.8.8.8/32',
  ],
]
for (const [what, ...addresses] of inside) {
  test(`T217 no receiver is at ${what}`, () => {
    for (const address of addresses) assert.equal(isPublicAddress(address), false, address)
  })
}

test('T217 whatever is beside those is public', () => {
  for (const address of [
    '1.1.1.1',
    '9.255.255.255',
    '11.0.0.0',
    '100.63.255.255',
    '100.128.0.0',
    '126.255.255.255',
    '128.0.0.0',
    '168.63.129.15',
    '169.253.255.255',
    '169.255.0.0',
    '172.15.255.255',
    '172.32.0.0',
    '192.167.255.255',
    '192.169.0.0',
    '198.17.255.255',
    '198.20.0.0',
    '223.255.255.255',
    '2000::',
    '2001:200::1',
    '2001:4860:4860::8888',
    '2606:4700:4700::1111',
    '3ffe:ffff::1',
  ])
    assert.equal(isPublicAddress(address), true, address)
})

test('loopback is loopback, and nothing that only looks like it', () => {
  for (const address of ['127.0.0.1', '127.9.9.9', '::1']) assert.equal(isLoopbackAddress(address), true)
  for (const address of ['128.0.0.1', '::2', 'localhost', '::1%lo', '', '10.0.0.1'])
    assert.equal(isLoopbackAddress(address), false, address)
})
