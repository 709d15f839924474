/**
 * The answer to headers that are larger than the HTTP parser takes. Its own would be 431, and nginx takes every answer but
 * 2xx, 401 and 403 for a fault of the gateway; so this is what a token that is too large gets, whoever sent it.
 * @module
 */

import type { Socket } from 'node:net'
import { deny } from '@countersign/validator/bearer'
import { Refusal } from '@countersign/validator/refusal'

/** 64 KiB for one header and 16 KiB for all others, so that up to there the guard itself decides. */
export const HEADER_BYTES_MAX = 80 * 1024

/** Whoever still sends has to read the answer first; after so long it is their loss. */
const FAREWELL_MILLISECONDS_MAX = 1000

/** Answers a request that the HTTP parser could not read, and ends the connection. `refused`: hears of each that is too large. */
export function refuseUnreadable(
  error: Error & { readonly code?: string },
  socket: Socket,
  refused: () => void = () => {},
): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return
  }
  const isOversized = error.code === 'HPE_HEADER_OVERFLOW'
  if (isOversized) refused()
  const head = isOversized ? oversized : 'HTTP/1.1 400 Bad Request\r\n'
  // Read on and thrown away: a connection that is closed with something unread loses the answer on its way.
  socket.removeAllListeners('data').on('data', () => {})
  socket.resume()
  socket.end(`${head}content-length: 0\r\nconnection: close\r\n\r\n`)
  const late = setTimeout(() => socket.destroy(), FAREWELL_MILLISECONDS_MAX).unref()
  socket.once('close', () => clearTimeout(late)).once('end', () => socket.destroy())
}

const { headers } = deny(new Refusal('oversized'))
const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
const oversized = `HTTP/1.1 401 Unauthorized\r\n${lines.join('')}`
