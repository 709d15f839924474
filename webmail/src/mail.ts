/**
 * The mail that is served: each person's to a validated token of theirs, and to nothing else.
 * @module
 */

import { type Admission, bearerScheme, deny } from '@countersign/validator/bearer'
import { type Confirmation, claimedConfirmation } from '@countersign/validator/confirmation'
import { type Binding, createGuard, type Guard, type GuardedRequest } from '@countersign/validator/guard'
import { readIncoming } from '@countersign/validator/incoming'
import type { ValidatedToken, Validator } from '@countersign/validator/validator'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { AccessRecord } from './access.ts'
import { serveEvents } from './events.ts'
import { findMessage, type Mailboxes } from './mailbox.ts'
import { denialPage, mailboxPage, pageHeaders, strangerPage, welcomePage } from './page.ts'
import { createSessions } from './session.ts'

export interface Mail {
  readonly validator: Validator
  /** Ways to prove that one is who a token was given to. */
  readonly bindings?: readonly Binding[]
  readonly mailboxes: Mailboxes
  readonly accesses: AccessRecord
}

/** `/` for people, `/api` for programs, `/events` for both. */
export function serveMail(
  http: FastifyInstance,
  { validator, bindings = [], mailboxes, accesses }: Mail,
): void {
  const openMailbox = mailboxes.open
  const sessions = createSessions()
  const guard = createGuard(validator, { bindings })

  /** By the `Authorization` header or, where there is none, by the token that the session was opened with. */
  async function admit(request: FastifyRequest, reply: FastifyReply): Promise<Admission> {
    const { headers, ip: network } = request
    const kept = headers.authorization === undefined ? sessions.find(headers.cookie) : undefined
    if (kept === undefined) return admitShown(guard, request, reply)
    const { jkt } = kept.confirmation ?? {}
    const shown = await shownAnew(readRequest(request), kept.text)
    const decision = validator.decide(kept.text, { confirmation: { ...shown, jkt }, network })
    return decision.accepted
      ? { admitted: true, token: decision.token }
      : { admitted: false, denial: deny(decision.refusal) }
  }

  /**
   * A proof for one request was made when the session was opened, and the cookie stands for it. What a connection shows of
   * itself it shows with each request, so a cookie that somebody carried off is of no use without the certificate.
   */
  async function shownAnew(request: GuardedRequest, token: string): Promise<Confirmation | undefined> {
    let shown: Confirmation | undefined
    for (const { scheme, confirm } of bindings) {
      if (scheme !== undefined) continue
      const { confirmation } = await confirm(request, { scheme: bearerScheme, token })
      shown = { ...shown, ...confirmation }
    }
    return shown
  }

  async function admitOrRefuse(
    request: FastifyRequest,
    reply: FastifyReply,
  ): Promise<ValidatedToken | undefined> {
    const admission = await admit(request, reply)
    if (admission.admitted) return admission.token
    await refuse(reply, admission)
    return undefined
  }
  serveEvents(http, { validator, mailboxes, accesses, admitOrRefuse })

  // By header alone: another site can make a browser send the form of a session, and cannot make it send that.
  http.post('/session', async (request, reply) => {
    const admission = await admitShown(guard, request, reply)
    if (!admission.admitted) return refuse(reply, admission)
    const text = (request.headers.authorization ?? '').replace(/^\S+ +/, '')
    // What it is bound to was proven just now.
    const cookie = sessions.open({ text, confirmation: claimedConfirmation(text) }, admission.token)
    return reply.code(204).header('cache-control', 'no-store').header('set-cookie', cookie).send()
  })
  http.delete('/session', (request, reply) => {
    const cookie = sessions.close(request.headers.cookie)
    return reply.code(204).header('cache-control', 'no-store').header('set-cookie', cookie).send()
  })

  http.get('/', async (request, reply) => {
    const admission = await admit(request, reply)
    reply.headers(pageHeaders())
    if (!admission.admitted) {
      const { denial } = admission
      if (denial.reason === 'token_missing') return reply.send(welcomePage())
      return reply.code(denial.status).headers(denial.headers).send(denialPage(denial))
    }
    const mailbox = openMailbox(admission.token)
    if (mailbox === undefined) return reply.code(404).send(strangerPage())
    accesses.add(admission.token, mailbox.messages, request.ip)
    return reply.send(mailboxPage(mailbox))
  })

  http.get('/api/messages', async (request, reply) => {
    const token = await admitOrRefuse(request, reply)
    if (token === undefined) return reply
    const mailbox = openMailbox(token)
    if (mailbox === undefined) return reply.callNotFound()
    const messages = mailbox.messages.map(({ text: _, ...heading }) => heading)
    return reply.header('cache-control', 'no-store').send({ address: mailbox.address, messages })
  })

  http.get<{ Params: { id: string } }>('/api/messages/:id', async (request, reply) => {
    const token = await admitOrRefuse(request, reply)
    if (token === undefined) return reply
    const mailbox = openMailbox(token)
    const message = mailbox && findMessage(mailbox, request.params.id)
    // A message of somebody else is as absent as one that never was.
    if (message === undefined) return reply.callNotFound()
    accesses.add(token, [message], request.ip)
    return reply.header('cache-control', 'no-store').send(message)
  })

  http.get('/api/accesses', async (request, reply) => {
    const token = await admitOrRefuse(request, reply)
    if (token === undefined) return reply
    return reply.header('cache-control', 'no-store').send(accesses.list(token))
  })
}

/** By the `Authorization` header, and what proves that the token in it is the sender's. */
async function admitShown(guard: Guard, request: FastifyRequest, reply: FastifyReply): Promise<Admission> {
  const admission = await guard.admit(readRequest(request))
  reply.headers(admission.headers)
  return admission
}

function readRequest(request: FastifyRequest): GuardedRequest {
  return readIncoming(request.raw, { network: request.ip })
}

function refuse(reply: FastifyReply, { denial }: Admission & { admitted: false }): FastifyReply {
  const { status, reason, headers } = denial
  return reply.code(status).headers(headers).send({ error: 'invalid_token', reason })
}
