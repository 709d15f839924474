/**
 * Introspection (RFC 7662) for services that cannot validate themselves. A caller must show credentials, so that
 * nobody can try tokens here; what is refused is `{"active": false}` and nothing more. Every call decides anew: an
 * answer that outlived a revocation is what introspection is there to avoid.
 * @module
 */

import { createHash, timingSafeEqual } from 'node:crypto'
import { claimedConfirmation } from '@countersign/validator/confirmation'
import { isObject } from '@countersign/validator/json'
import { readPrivateFile } from '@countersign/validator/private-file'
import type { ValidatedToken, Validator } from '@countersign/validator/validator'
import formbody from '@fastify/formbody'
import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { type Kicker, kickSchema } from './kick.ts'

/** The file of those who may introspect. Secrets are random, so one SHA-256 keeps them as well as a slow hash would. */
const clientsFile = z.strictObject({
  clients: z.array(
    z.strictObject({
      client_id: z.string().min(1),
      /** SHA-256 of the secret, base64url. */
      secret_sha256: z.base64url().length(43),
      /** The tenants whose tokens the client may ask about. Left out: all. */
      tenants: z.array(z.string()).optional(),
      /** A mail server: the sessions that it opens end with their token. Bound tokens open none, since it compares no `cnf`. */
      kick: kickSchema.optional(),
    }),
  ),
})

export type IntrospectionClient = z.infer<typeof clientsFile>['clients'][number]

/**
 * RFC 7662 allows other parameters; a secret in the body is a second way to authenticate, and one is enough. Dovecot always
 * sends the member, and leaves it empty.
 */
const request = z.object({ token: z.string().min(1), client_secret: z.literal('').optional() })

const BODY_BYTES_MAX = 64 * 1024

/** Throws when others than this user may read the file. */
export function readClients(file: string): readonly IntrospectionClient[] {
  return clientsFile.parse(JSON.parse(readPrivateFile(file))).clients
}

export async function serveIntrospection(
  http: FastifyInstance,
  validator: Validator,
  clients: readonly IntrospectionClient[],
  kickers: ReadonlyMap<IntrospectionClient, Kicker> = new Map(),
): Promise<void> {
  await http.register(formbody, { bodyLimit: BODY_BYTES_MAX })
  http.post('/introspect', (incoming, reply) => {
    reply.header('cache-control', 'no-store')
    const client = authenticateClient(clients, incoming.headers.authorization)
    if (client === undefined) {
      return reply
        .code(401)
        .header('www-authenticate', 'Basic realm="introspection"')
        .send({ error: 'invalid_client' })
    }
    const form = request.safeParse(incoming.body)
    if (!form.success) return reply.code(400).send({ error: 'invalid_request' })
    const { token } = form.data
    // Who asks is not who was given the token: they compare `cnf` with what was proven to them.
    const confirmation = client.kick === undefined ? claimedConfirmation(token) : undefined
    const decision = validator.decide(token, { confirmation })
    if (!decision.accepted) {
      return reply.header('x-countersign-reason', decision.refusal.reason).send({ active: false })
    }
    const answer = describe(client, decision.token)
    if (answer.active && kickers.get(client)?.watch(decision.token) === false) {
      return reply.send({ active: false })
    }
    return reply.send(answer)
  })
}

/** The client whose secret a `Basic` header shows (RFC 6749, section 2.3.1), or undefined. */
function authenticateClient(
  clients: readonly IntrospectionClient[],
  authorization: string | undefined,
): IntrospectionClient | undefined {
  const [, encoded = ''] = /^basic +([A-Za-z0-9+/]+=*)$/i.exec(authorization ?? '') ?? []
  const [, id = '', secret = ''] = /^([^:]*):(.*)$/s.exec(Buffer.from(encoded, 'base64').toString()) ?? []
  const shown = createHash('sha256').update(formDecode(secret)).digest()
  const client = clients.find(({ client_id }) => client_id === formDecode(id))
  const expected = Buffer.from(client?.secret_sha256 ?? nobody, 'base64url')
  return timingSafeEqual(shown, expected) ? client : undefined
}

/** A hash that nobody knows a secret for: an unknown client costs what a wrong secret costs. */
const nobody = 'A'.repeat(43)

type Description = Readonly<Record<string, unknown>> & { readonly active: boolean }

function describe(client: IntrospectionClient, token: ValidatedToken): Description {
  if (client.tenants?.includes(token.tenant) === false) return { active: false }
  const { iss, sub, aud, client_id, scope, tid, iat, exp, nbf, jti, cnf } = token.claims
  const token_type = isObject(cnf) && cnf['jkt'] !== undefined ? 'DPoP' : 'Bearer'
  return { active: true, token_type, iss, sub, aud, client_id, scope, tid, iat, exp, nbf, jti, cnf }
}

function formDecode(text: string): string {
  return new URLSearchParams(`value=${text.replaceAll('&', '%26')}`).get('value') ?? ''
}
