/**
 * The mail that is served: each person's to a validated token of theirs, and to nothing else.
 * @module
 */

import { type Admission, admit } from '@countersign/validator/bearer'
import type { Validator } from '@countersign/validator/validator'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { AccessRecord } from './access.ts'
import { findMessage, type OpenMailbox } from './mailbox.ts'
import { denialPage, mailboxPage, pageHeaders, strangerPage, welcomePage } from './page.ts'

export interface Mail {
  readonly validator: Validator
  readonly openMailbox: OpenMailbox
  readonly accesses: AccessRecord
}

/** `/` for people, `/api` for programs. */
export function serveMail(http: FastifyInstance, { validator, openMailbox, accesses }: Mail): void {
  http.get('/', (request, reply) => {
    const admission = admitRequest(validator, request)
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
    const admission = admitRequest(validator, request)
    if (!admission.admitted) return refuse(reply, admission)
    const mailbox = openMailbox(admission.token)
    if (mailbox === undefined) return reply.callNotFound()
    const messages = mailbox.messages.map(({ text: _, ...heading }) => heading)
    return reply.header('cache-control', 'no-store').send({ address: mailbox.address, messages })
  })

  http.get<{ Params: { id: string } }>('/api/messages/:id', (request, reply) => {
    const admission = admitRequest(validator, request)
    if (!admission.admitted) return refuse(reply, admission)
    const mailbox = openMailbox(admission.token)
    const message = mailbox && findMessage(mailbox, request.params.id)
    // A message of somebody else is as absent as one that never was.
    if (message === undefined) return reply.callNotFound()
    accesses.add(admission.token, [message], request.ip)
    return reply.header('cache-control', 'no-store').send(message)
  })

  http.get('/api/accesses', (request, reply) => {
    const admission = admitRequest(validator, request)
    if (!admission.admitted) return refuse(reply, admission)
    return reply.header('cache-control', 'no-store').send(accesses.list(admission.token))
  })
}

function admitRequest(validator: Validator, request: FastifyRequest): Admission {
  return admit(validator, request.raw.rawHeaders, request.ip)
}

function refuse(reply: FastifyReply, { denial }: Admission & { admitted: false }): FastifyReply {
  const { status, reason, headers } = denial
  return reply.code(status).headers(headers).send({ error: 'invalid_token', reason })
}
