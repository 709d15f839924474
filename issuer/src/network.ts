/**
 * Where a request comes from, as far as guesses are counted: an IPv4 address, or the /64 of an IPv6 one, since a single
 * household has all of those.
 * @module
 */

import type { IncomingMessage } from 'node:http'
import { isIPv6 } from 'node:net'

/** `addressHeader`: see `client_address_header` in the configuration. */
export function networkOf(request: IncomingMessage, addressHeader: string | undefined): string {
  const value = addressHeader === undefined ? undefined : request.headers[addressHeader.toLowerCase()]
  // Earlier entries are what the client itself may have sent.
  const told = String(value ?? '')
    .split(',')
    .at(-1)
    ?.trim()
  const address = (told || request.socket.remoteAddress || '').replace(/^::ffff:(?=[0-9.]+$)/, '')
  return isIPv6(address) ? prefixOf(address) : address
}

/** The first four groups, written out. */
function prefixOf(address: string): string {
  const [head = '', tail] = address.split('::')
  const [left, right] = [head, tail ?? ''].map((part) => part.split(':').filter((group) => group !== ''))
  const zeros = Array<string>(8 - (left?.length ?? 0) - (right?.length ?? 0)).fill('0')
  return `${[...(left ?? []), ...zeros, ...(right ?? [])].slice(0, 4).join(':')}::/64`
}
