/**
 * Goal: one client has one address here, whatever it writes into its headers (T185). Method: a table.
 */

import assert from 'node:assert/strict'
import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import { test } from 'node:test'
import { networkOf } from './network.ts'

function request(remoteAddress: string, headers: Record<string, string> = {}): IncomingMessage {
  const socket = new Socket()
  Object.defineProperty(socket, 'remoteAddress', { value: remoteAddress })
  return Object.assign(new IncomingMessage(socket), { headers })
}

test('T185 an IPv6 client is its /64, and an IPv4 client is the same under both spellings', () => {
  const same = [
    ['192.0.2.1', '192.0.2.1'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['2001:db8:0:0:aaaa:bbbb:cccc:dddd', '2001:db8:0:0::/64'],
    ['2001:db8:1:2:3::9', '2001:db8:1:2::/64'],
    ['2001::5:6:7:8:9', '2001:0:0:5::/64'],
    ['::1', '0:0:0:0::/64'],
  ] as const
  for (const [address, network] of same)
    assert.equal(networkOf(request(address), undefined), network, address)
})

test('T185 only what the proxy in front adds counts, and only where there is one', () => {
  const headers = { 'x-forwarded-for': '198.51.100.1, 203.0.113.9' }
  assert.equal(networkOf(request('127.0.0.1', headers), undefined), '127.0.0.1')
  assert.equal(networkOf(request('127.0.0.1', headers), 'X-Forwarded-For'), '203.0.113.9')
  assert.equal(networkOf(request('127.0.0.1'), 'x-forwarded-for'), '127.0.0.1')
})
