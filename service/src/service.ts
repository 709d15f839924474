/**
 * What every service of ours shares: configuration read once and checked whole, a logger that cannot print a secret,
 * an HTTP server with the same answers for bad input, and one way to start and to stop.
 * @module
 */

import type { Socket } from 'node:net'
import { parseArgs } from 'node:util'
import fastify, { type FastifyBaseLogger, type FastifyInstance, LogController } from 'fastify'
import pino, { type Logger } from 'pino'
import type { z } from 'zod'
import { readConfig } from './config.ts'

export type { Logger }

/** What a service gives back once it answers. */
export interface Running {
  /** Shown to whoever started the process: URLs, names; never a secret. */
  readonly ready: Readonly<Record<string, unknown>>
  /** Reads anew what may change while it runs. Called on SIGHUP; what is thrown is logged, and all stays as it was. */
  reload?(): Promise<void>
  /** Ends everything that was started. Called once. */
  stop(): Promise<void>
}

/** A service that has not stopped by then is ended: the promise of 5 s belongs to the whole system. */
const STOP_MILLISECONDS_MAX = 4000

/**
 * Runs a service as this process: reads `--config FILE`, starts, tells its parent (IPC message `{ready}` or a line on
 * standard output), stops on SIGTERM, SIGINT or when its parent goes away. `start` gets a way to read the file anew.
 */
export async function runService<Schema extends z.ZodType>(
  name: string,
  schema: Schema,
  start: (config: z.infer<Schema>, log: Logger, reread: () => z.infer<Schema>) => Promise<Running>,
): Promise<void> {
  const log = createLog(name)
  // A parent that goes away before this answers would never be missed otherwise. What is half started is left to the
  // next start, as after a crash.
  process.once('disconnect', endAtOnce)
  try {
    const { values } = parseArgs({ options: { config: { type: 'string' } } })
    const { config: file } = values
    if (file === undefined) throw new Error(`${name} needs --config FILE`)
    const reread = (): z.infer<Schema> => readConfig(file, schema)
    const running = await start(reread(), log, reread)
    process.off('disconnect', endAtOnce)
    onStop(log, running)
    onReload(log, running)
    if (process.send === undefined) process.stdout.write(`${JSON.stringify({ ready: running.ready })}\n`)
    else process.send({ ready: running.ready })
  } catch (error) {
    log.fatal({ error: (error as Error).message }, 'could not start')
    process.exit(1)
  }
}

/** What could hold a credential. */
const secrets = ['authorization', 'cookie', 'token', 'client_secret', 'password'] as const

/** JSON lines on standard error. Such members are cut, in a line and in what stands in it, whoever logs them. */
export function createLog(name: string): Logger {
  return pino(
    {
      name,
      level: process.env['COUNTERSIGN_LOG_LEVEL'] ?? 'warn',
      redact: [...secrets.flatMap((name) => [name, `*.${name}`]), 'req.headers'],
    },
    pino.destination({ dest: 2, sync: true }),
  )
}

export interface HttpOptions {
  /** All headers of a request together. */
  readonly headerBytesMax?: number
  /** Answers what the HTTP parser could not read, and ends the connection. */
  readonly onUnreadable?: (error: Error & { readonly code?: string }, socket: Socket) => void
  /** When it is closed, what was asked is answered first, and whoever asks must see to it that this ends. */
  readonly drains?: boolean
}

/** A token and its receipt must arrive to be refused by name, not by the HTTP parser. */
const HEADER_BYTES_MAX = 64 * 1024

/** A Fastify server whose errors are `{error, error_description}` and which never says what it runs on. */
export function createHttp(
  log: Logger,
  { headerBytesMax = HEADER_BYTES_MAX, onUnreadable, drains = false }: HttpOptions = {},
): FastifyInstance {
  const http = fastify({
    loggerInstance: log as FastifyBaseLogger,
    logController: new LogController({ disableRequestLogging: true }),
    // A logger of its own for each request costs more than most answers, and none is asked for.
    childLoggerFactory: (logger) => logger,
    bodyLimit: 1024 * 1024,
    http: { maxHeaderSize: headerBytesMax },
    ...(onUnreadable !== undefined && { clientErrorHandler: onUnreadable }),
    forceCloseConnections: drains ? 'idle' : true,
    return503OnClosing: !drains,
  })
  http.setErrorHandler((error: Error & { statusCode?: number; code?: string }, _request, reply) => {
    const status = error.statusCode ?? 500
    if (status >= 500) log.error({ error: error.message }, 'a request failed')
    void reply.code(status).send({
      error: status >= 500 ? 'server_error' : 'invalid_request',
      error_description: status >= 500 ? 'the request failed here' : error.message,
    })
  })
  http.setNotFoundHandler((_request, reply) => {
    void reply.code(404).send({ error: 'not_found', error_description: 'there is nothing at this address' })
  })
  return http
}

function endAtOnce(): void {
  process.exit(1)
}

/** Without `reload` the signal ends the process, as it does everywhere. */
function onReload(log: Logger, running: Running): void {
  if (running.reload === undefined) return
  process.on('SIGHUP', () => {
    running.reload?.().catch((error: Error) => log.error({ error: error.message }, 'could not reload'))
  })
}

function onStop(log: Logger, running: Running): void {
  let stopping = false
  const stop = async (): Promise<void> => {
    if (stopping) return
    stopping = true
    const late = setTimeout(() => {
      log.error('did not stop in time')
      process.exit(1)
    }, STOP_MILLISECONDS_MAX)
    await running.stop()
    clearTimeout(late)
    process.exit(0)
  }
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => void stop())
  process.on('disconnect', () => void stop())
}
