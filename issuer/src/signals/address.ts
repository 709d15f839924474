/**
 * Which addresses a receiver may have. A URL that somebody else gives us to post to is a way into our own network unless
 * every address behind it is public (T217). Pure: whoever resolves a name asks here about each address that came.
 * @module
 */

import { BlockList, isIP } from 'node:net'

/** Whether anybody on the Internet could reach the address. */
export function isPublicAddress(address: string): boolean {
  switch (isIP(address)) {
    case 4:
      return !reserved.check(address, 'ipv4')
    case 6:
      // With a zone it names an interface of this machine.
      return !address.includes('%') && global.check(address, 'ipv6') && !reserved.check(address, 'ipv6')
    default:
      return false
  }
}

export function isLoopbackAddress(address: string): boolean {
  const family = isIP(address)
  return family !== 0 && !address.includes('%') && loopback.check(address, family === 4 ? 'ipv4' : 'ipv6')
}

/** The ports on which a receiver may listen for us: those of HTTPS, so that no other service is spoken to. */
export const receiverPorts: readonly number[] = [443, 8443]

const loopback = blockList([['127.0.0.0', 8]], [['::1', 128]])

/** All that is assigned of IPv6 so far. What maps or translates IPv4 (`::ffff:0:0/96`, `64:ff9b::/96`) lies outside. */
const global = blockList([], [['2000::', 3]])

/** IANA's special-purpose registries (RFC 6890 and later), and what a cloud has put among the public ones. */
const reserved = blockList(
  [
    ['0.0.0.0', 8], // this host
    ['10.0.0.0', 8], // private
    ['100.64.0.0', 10], // behind a carrier's NAT
    ['127.0.0.0', 8], // loopback
    ['168.63.129.16', 32], // Azure, to its own machines
    ['169.254.0.0', 16], // link-local, where clouds keep their metadata
    ['172.16.0.0', 12], // private
    ['192.0.0.0', 24], // protocol assignments
    ['192.0.2.0', 24], // documentation
    ['192.31.196.0', 24], // AS112
    ['192.52.193.0', 24], // AMT
    ['192.88.99.0', 24], // 6to4 relays
    ['192.168.0.0', 16], // private
    ['192.175.48.0', 24], // AS112
    ['198.18.0.0', 15], // benchmarks
    ['198.51.100.0', 24], // documentation
    ['203.0.113.0', 24], // documentation
    ['224.0.0.0', 4], // multicast
    ['240.0.0.0', 4], // reserved, and broadcast
  ],
  [
    ['2001::', 23], // protocol assignments: Teredo, ORCHID, benchmarks
    ['2001:db8::', 32], // documentation
    ['2002::', 16], // 6to4: an IPv4 address inside
    ['2620:4f:8000::', 48], // AS112
    ['3fff::', 20], // documentation
  ],
)

type Networks = readonly (readonly [network: string, prefix: number])[]

function blockList(networks4: Networks, networks6: Networks): BlockList {
  const list = new BlockList()
  for (const [network, prefix] of networks4) list.addSubnet(network, prefix, 'ipv4')
  for (const [network, prefix] of networks6) list.addSubnet(network, prefix, 'ipv6')
  return list
}
