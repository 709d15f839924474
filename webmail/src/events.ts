/**
 * New mail as it arrives: `GET /events`, server-sent. The stream is held by the token that opened it and ends with it, with
 * a last event that says why.
 *
 *     id: 3-4\n
 *     event: mail\n
 *     data: {"id":"3-4","from":…,"subject":…,"date":…,"text":…}\n
 *     \n
 *     event: end\n
 *     data: {"reason":"key_blocked"}\n
 *     \n
 *
 * @module
 */

import { streamEvents } from '@countersign/validator/sse'
import type { ValidatedToken, Validator } from '@countersign/validator/validator'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { AccessRecord } from './access.ts'
import { type Mailboxes, newerThan, ownerOf } from './mailbox.ts'

export interface Events {
  readonly validator: Validator
  readonly mailboxes: Mailboxes
  readonly accesses: AccessRecord
  /** The token of a request, or undefined after it has been refused. */
  readonly admitOrRefuse: (
    request: FastifyRequest,
    reply: FastifyReply,
  ) => Promise<ValidatedToken | undefined>
}

const STREAMS_MAX = 1000
/** One person's, so that nobody takes the streams of all others. */
const STREAMS_OF_ONE_MAX = 20

export function serveEvents(
  http: FastifyInstance,
  { validator, mailboxes, accesses, admitOrRefuse }: Events,
): void {
  /** Each with its owner. */
  const streams = new Map<FastifyReply['raw'], string>()

  http.get<{ Querystring: { after?: unknown } }>('/events', async (request, reply) => {
    const token = await admitOrRefuse(request, reply)
    if (token === undefined) return reply
    const mailbox = mailboxes.open(token)
    if (mailbox === undefined) return reply.callNotFound()
    const owner = ownerOf(mailbox)
    const own = streams.values().filter((each) => each === owner)
    if (streams.size >= STREAMS_MAX || [...own].length >= STREAMS_OF_ONE_MAX)
      return reply.code(503).send({ error: 'too_many_streams' })
    // The last message that the page has; without one, what is there already is known.
    const after = request.headers['last-event-id'] ?? request.query.after
    let last = typeof after === 'string' ? after : mailbox.messages.at(-1)?.id
    const { raw } = reply.hijack()
    streams.set(raw, owner)
    raw.once('close', () => streams.delete(raw))
    const events = streamEvents(validator, token, raw)

    function sendNew(): void {
      const messages = newerThan(mailboxes.open(token as ValidatedToken)?.messages ?? [], last)
      if (messages.length === 0) return
      try {
        accesses.add(token as ValidatedToken, messages, request.ip)
      } catch {
        // What cannot be recorded is not shown.
        return void raw.destroy()
      }
      for (const message of messages) events.send({ id: message.id, event: 'mail', data: message })
      last = messages.at(-1)?.id
    }

    events.signal.addEventListener('abort', mailboxes.onChange(sendNew))
    sendNew()
    return reply
  })

  http.addHook('preClose', async () => {
    for (const raw of streams.keys()) raw.destroy()
  })
}
