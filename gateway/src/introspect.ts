/**
 * Introspection (RFC 7662) for services that cannot validate themselves. A caller must show credentials, so that
 * nobody can try tokens here; what is refused is `{"active": false}` and nothing more. Every call decides anew: an
 * answer that outlived a revocation is what introspection is there to avoid.
 * @module
 */

import { createHash, type KeyObject, timingSafeEqual } from 'node:crypto'
import { claimedConfirmation } from '@countersign/validator/confirmation'
import { publicHalf } from '@countersign/validator/document'
import { isObject } from '@countersign/validator/json'
import { signStatement } from '@countersign/validator/statement'
import type { ValidatedToken, Validator } from '@countersign/validator/validator'
import formbody from '@fastify/formbody'
import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { kickSchema } from './kick.ts'
import { readPrivateConfig } from './private-config.ts'

/** The file of those who may introspect. Secrets are random, so one SHA-256 keeps them as well as a slow hash would. */
const clientsFile = z.strictObject({
  clients: z
    .array(
      z.strictObject({
        client_id: z.string().min(1),
        /** SHA-256 of the secret, base64url. */
        secret_sha256: z.base64url().length(43),
        /** The tenants whose tokens the client may ask about. Left out: all. */
        tenants: z.array(z.string()).optional(),
        /** A mail server: the sessions that it opens end with their token. Bound tokens open none, since it compares no `cnf`. */
        kick: kickSchema.optional(),
      }),
    )
    .superRefine((clients, context) => {
      const names = clients.map(({ client_id }) => client_id)
      names.forEach((name, at) => {
        // The first would be let in, and the sessions of the last be ended.
        if (names.indexOf(name) < at)
          context.addIssue({
            code: 'custom',
            path: [at, 'client_id'],
            message: 'is that of a client before it',
          })
      })
    }),
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
  return readPrivateConfig(file, clientsFile).clients
}

/** What is needed to answer; another configuration takes its place at once and whole. */
export interface Introspection {
  readonly clients: readonly IntrospectionClient[]
  readonly watch?: Watch | undefined
  /** Signs answers for clients that ask for it (RFC 9701). Left out: nobody gets one. */
  readonly signer?: AnswerSigner | undefined
}

/**
 * Has the sessions end that a client opens by a token which was found to be good. False where that cannot be: it must open
 * none. Asked of mail servers alone (`kick`).
 */
export type Watch = (
  client: IntrospectionClient,
  token: string,
  validated: ValidatedToken,
) => boolean | Promise<boolean>

/** Who says so, and with which key: the one that the gateway is enrolled by. */
export interface AnswerSigner {
  /** As it stands in `iss`. */
  readonly issuer: string
  readonly privateKey: KeyObject
}

/** Hears of every decision; `inactive` where a good token is none for this client. */
export type Introspected = (verdict: string, seconds: number) => void

/** `introspection` is asked anew each time. */
export async function serveIntrospection(
  http: FastifyInstance,
  validator: Validator,
  introspection: () => Introspection,
  introspected: Introspected = () => {},
): Promise<void> {
  await http.register(formbody, { bodyLimit: BODY_BYTES_MAX })
  http.post('/introspect', async (incoming, reply) => {
    const began = performance.now()
    const { clients, watch, signer } = introspection()
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
    const { description, verdict } = await decide(validator, client, form.data.token, watch)
    introspected(verdict, (performance.now() - began) / 1000)
    if (verdict !== 'accepted' && verdict !== 'inactive') reply.header('x-countersign-reason', verdict)
    if (signer === undefined || !acceptsJwt(incoming.headers.accept)) return reply.send(description)
    return reply.type(`application/${SIGNED_TYPE}`).send(sign(signer, client, description))
  })
  // Its public key, so that whoever keeps an answer can show it to others.
  http.get('/introspect/jwks', (_request, reply) => {
    const { signer } = introspection()
    const keys = signer === undefined ? [] : [describeKey(signer.privateKey)]
    return reply.header('cache-control', 'no-store').send({ keys })
  })
}

async function decide(
  validator: Validator,
  client: IntrospectionClient,
  token: string,
  watch: Watch = () => true,
): Promise<{ readonly description: Description; readonly verdict: string }> {
  // Who asks is not who was given the token: they compare `cnf` with what was proven to them.
  const confirmation = client.kick === undefined ? claimedConfirmation(token) : undefined
  const decision = validator.decide(token, { confirmation })
  if (!decision.accepted) return { description: inactive, verdict: decision.refusal.reason }
  const description = describe(client, decision.token)
  if (!description.active) return { description: inactive, verdict: 'inactive' }
  if (client.kick !== undefined) {
    if (!(await watch(client, token, decision.token))) return { description: inactive, verdict: 'inactive' }
    // Another process may have been asked, and what died meanwhile is dead.
    const again = validator.decide(token, { confirmation })
    if (!again.accepted) return { description: inactive, verdict: again.refusal.reason }
  }
  return { description, verdict: 'accepted' }
}

function describeKey(privateKey: KeyObject): object {
  const { kid, jwk } = publicHalf(privateKey)
  return { ...jwk, kid, use: 'sig' }
}

const SIGNED_TYPE = 'token-introspection+jwt'

/** RFC 9701, section 4: by media type, and nothing but this one asks for it. */
function acceptsJwt(accept: string | undefined): boolean {
  return (accept ?? '')
    .split(',')
    .some((type) => type.split(';')[0]?.trim().toLowerCase() === `application/${SIGNED_TYPE}`)
}

/** RFC 9701, section 5. For this client alone: another one refuses it by its `aud`. */
function sign(
  { issuer, privateKey }: AnswerSigner,
  { client_id }: IntrospectionClient,
  answer: Description,
): string {
  const payload = {
    iss: issuer,
    aud: client_id,
    iat: Math.floor(Date.now() / 1000),
    token_introspection: answer,
  }
  return signStatement(SIGNED_TYPE, payload, privateKey)
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

/** Whatever the reason, nothing more is said. */
const inactive: Description = { active: false }

function describe(client: IntrospectionClient, token: ValidatedToken): Description {
  if (client.tenants?.includes(token.tenant) === false) return inactive
  const { iss, sub, aud, scope, iat, exp, nbf, jti, cnf } = token.claims
  const token_type = isObject(cnf) && cnf['jkt'] !== undefined ? 'DPoP' : 'Bearer'
  return {
    active: true,
    token_type,
    iss,
    sub,
    aud,
    // Other issuers have names of their own for these.
    client_id: token.clientId,
    scope: scope ?? (token.scopes.length > 0 ? token.scopes.join(' ') : undefined),
    tid: token.tenant,
    iat,
    exp,
    nbf,
    jti,
    cnf,
  }
}

function formDecode(text: string): string {
  return new URLSearchParams(`value=${text.replaceAll('&', '%26')}`).get('value') ?? ''
}
