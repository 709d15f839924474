/**
 * The mail that is served: each person's to a validated token of theirs, and to nothing else.
 * @module
 */

import { type Admission, admit } from '@countersign/validator/bearer'
import type { ValidatedToken, Validator } from '@countersign/validator/validator'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { AccessRecord } from './access.ts'
import { serveEvents } from './events.ts'
import { findMessage, type Mailboxes } from './mailbox.ts'
import { denialPage, mailboxPage, pageHeaders, strangerPage, welcomePage } from './page.ts'
import { createSessions, type Sessions } from './session.ts'

export interface Mail {
  readonly validator: Validator
  readonly mailboxes: Mailboxes
  readonly accesses: AccessRecord
}

/** `/` for people, `/api` for programs, `/events` for both. */
export function serveMail(http: FastifyInstance, { validator, mailboxes, accesses }: Mail): void {
  const openMailbox = mailboxes.open
  const sessions = createSessions()
  const admitRequest = (request: FastifyRequest): Admission => admitAnyhow(validator, sessions, request)
  const admitOrRefuse = (request: FastifyRequest, reply: FastifyReply): ValidatedToken | undefined => {
    const admission = admitRequest(request)
    if (admission.admitted) return admission.token
    void refuse(reply, admission)
    return undefined
  }
  serveEvents(http, { validator, mailboxes, accesses, admitOrRefuse })

  // By header alone: another site can make a browser send the form of a session, and cannot make it send that.
  http.post('/session', (request, reply) => {
    const admission = admit(validator, request.raw.rawHeaders, request.ip)
    if (!admission.admitted) return refuse(reply, admission)
    const bearer = (request.headers.authorization ?? '').replace(/^\S+ +/, '')
    const cookie = sessions.open(bearer, admission.token)
    return reply.code(204).header('cache-control', 'no-store').header('set-cookie', cookie).send()
  })
  http.delete('/session', (request, reply) => {
    const cookie = sessions.close(request.headers.cookie)
    return reply.code(204).header('cache-control', 'no-store').header('set-cookie', cookie).send()
  })

  http.get('/', (request, reply) => {
    const admission = admitRequest(request)
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

  http.get('/api/messages', (request, reply) => {
    const token = admitOrRefuse(request, reply)
    if (token === undefined) return reply
    const mailbox = openMailbox(token)
    if (mailbox === undefined) return reply.callNotFound()
    const messages = mailbox.messages.map(({ text: _, ...heading }) => heading)
    return reply.header('cache-control', 'no-store').send({ address: mailbox.address, messages })
  })

  http.get<{ Params: { id: string } }>('/api/messages/:id', (request, reply) => {
    const token = admitOrRefuse(request, reply)
    if (token === undefined) return reply
    const mailbox = openMailbox(token)
    const message = mailbox && findMessage(mailbox, request.params.id)
    // A message of somebody else is as absent as one that never was.
    if (message === undefined) return reply.callNotFound()
    accesses.add(token, [message], request.ip)
    return reply.header('cache-control', 'no-store').send(message)
  })

  http.get('/api/accesses', (request, reply) => {
    const token = admitOrRefuse(request, reply)
    if (token === undefined) return reply
    return reply.header('cache-control', 'no-store').send(accesses.list(token))
  })
}

/** By the `Authorization` header or, where there is none, by the token that the session was opened with. */
function admitAnyhow(validator: Validator, sessions: Sessions, request: FastifyRequest): Admission {
  const { headers, raw, ip } = request
  const kept = headers.authorization === undefined ? sessions.find(headers.cookie) : undefined
  return admit(validator, kept === undefined ? raw.rawHeaders : ['authorization', `Bearer ${kept}`], ip)
}

function refuse(reply: FastifyReply, { denial }: Admission & { admitted: false }): FastifyReply {
  const { status, reason, headers } = denial
  return reply.code(status).headers(headers).send({ error: 'invalid_token', reason })
}
