/**
 * What everybody may read: checkpoints, tiles and bundles, at the addresses of C2SP tlog-tiles; sealed epochs, and the
 * open one too, below `/epochs/<epoch>`. Nothing here is computed: any web server could do it from a copy.
 * @module
 */

import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { WitnessLog } from './log.ts'
import { parseTilePath } from './tiles.ts'

const zip = promisify(gzip)
/** What a tile holds never changes; a year is as long as caches go. */
const IMMUTABLE = 'public, max-age=31536000, immutable'

export function serveLog(http: FastifyInstance, log: WitnessLog): void {
  for (const prefix of ['', '/epochs/:epoch']) {
    http.get(`${prefix}/checkpoint`, (request, reply) => {
      const note = log.checkpoint(epochOf(request))
      if (note === undefined) return reply.callNotFound()
      return reply.type('text/plain; charset=utf-8').header('cache-control', 'no-cache').send(note)
    })
    http.get(`${prefix}/tile/*`, async (request, reply) => sendTile(log, request, reply))
  }
}

async function sendTile(
  log: WitnessLog,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const tile = parseTilePath(`tile/${(request.params as { '*': string })['*']}`)
  const bytes = tile && (await log.readTile(tile, epochOf(request)))
  if (tile === undefined || bytes === undefined) {
    reply.callNotFound()
    return reply
  }
  reply.type('application/octet-stream').header('cache-control', IMMUTABLE)
  if (tile.kind !== 'entries') return reply.send(bytes)
  reply.header('vary', 'accept-encoding')
  if (!/\bgzip\b/.test(request.headers['accept-encoding'] ?? '')) return reply.send(bytes)
  return reply.header('content-encoding', 'gzip').send(await zip(bytes))
}

function epochOf(request: FastifyRequest): string | undefined {
  return (request.params as { epoch?: string }).epoch
}
