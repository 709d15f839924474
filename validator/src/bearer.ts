/**
 * How a protected service reads a bearer token out of a request, and what it answers when it refuses (RFC 6750, and RFC
 * 9470 where the sign-in was too weak or too long ago). `guard.ts` decides about whole requests with it; whoever asks for
 * nothing but a good token takes
 *
 *     const admission = admit(validator, request.rawHeaders, request.socket.remoteAddress)
 *     if (!admission.admitted) return response.writeHead(admission.denial.status, admission.denial.headers).end()
 *
 * Only the `Authorization` header counts. A token in a query, body or cookie is not looked for: it would end up in
 * logs, or be sent by a browser that its user did not ask. Two headers, or two credentials in one, are refused rather
 * than chosen from, since the next program on the path might choose the other.
 * @module
 */

import { headerValues } from './headers.ts'
import { Refusal, refusals } from './refusal.ts'
import type { ValidatedToken, Validator } from './validator.ts'

export type Admission =
  | { readonly admitted: true; readonly token: ValidatedToken }
  | { readonly admitted: false; readonly denial: Denial }

/** What to answer instead of the resource. */
export interface Denial {
  readonly status: 401 | 403
  /** Of the table of refusals, or `token_missing`, `insufficient_scope` or `insufficient_user_authentication`. */
  readonly reason: string
  readonly headers: Readonly<Record<string, string>>
  /** To be sent as JSON. */
  readonly body: Readonly<Record<string, string>>
  /** Where a token was refused: its message may say more than the answer, for the log alone. */
  readonly refusal?: Refusal | undefined
}

/** A scheme of `Authorization` that is taken here, with what its challenges say besides. */
export interface Scheme {
  readonly name: string
  /** Parameters of its challenge, such as `algs="ES256"`. */
  readonly parameters?: string | undefined
}

/** What stands in `Authorization`. */
export interface Credentials {
  readonly scheme: Scheme
  readonly token: string
}

export const bearerScheme: Scheme = { name: 'Bearer' }

/**
 * Decides about a request by its headers as they arrived, name and value in turn (Node's `rawHeaders`): a parsed
 * object has already dropped all but one of several. `network` is for the sighting alone.
 */
export function admit(
  validator: Pick<Validator, 'validate'>,
  rawHeaders: readonly string[],
  network?: string,
): Admission {
  try {
    const credentials = readCredentials(rawHeaders, [bearerScheme])
    if (credentials === undefined) return { admitted: false, denial: denyMissing([bearerScheme]) }
    return { admitted: true, token: validator.validate(credentials.token, { network }) }
  } catch (error) {
    if (error instanceof Refusal) return { admitted: false, denial: deny(error) }
    throw error
  }
}

/** The one credential of a request, or undefined where there is none. Throws `Refusal` where it is no such credential. */
export function readCredentials(
  rawHeaders: readonly string[],
  schemes: readonly Scheme[],
): Credentials | undefined {
  const [value, ...others] = headerValues(rawHeaders, 'authorization')
  if (value === undefined) return undefined
  if (others.length > 0) throw new Refusal('malformed', { hint: 'Authorization stands there twice' })
  const [, name, token] = credentialsSyntax.exec(value) ?? []
  const scheme = schemes.find((known) => known.name.toLowerCase() === name?.toLowerCase())
  if (scheme === undefined || token === undefined) {
    const names = schemes.map((known) => known.name).join(' or ')
    throw new Refusal('malformed', { hint: `Authorization is not ${names} and one token` })
  }
  return { scheme, token }
}

/** For a token that was refused. What its message says besides is for whoever runs the service, unless it is what to prove. */
export function deny(refusal: Refusal, scheme: Scheme = bearerScheme): Denial {
  const { status, reason } = refusal
  const { message } = reason === 'sender_mismatch' ? refusal : refusals[reason]
  return { ...denyError({ status, reason, message }, 'invalid_token', scheme), refusal }
}

/** As `deny`, by another error code than `invalid_token`; the message stands in a header and is ASCII without quotes. */
export function denyError(
  { status, reason, message }: Pick<Refusal, 'status' | 'message'> & { readonly reason: string },
  error: string,
  scheme: Scheme,
): Denial {
  return denial(status, reason, [challenge(scheme, { error, error_description: message })], {
    error,
    error_description: message,
  })
}

/** RFC 6750, section 3.1: no error code for a request that did not try. */
export function denyMissing(schemes: readonly Scheme[]): Denial {
  return denial(
    401,
    'token_missing',
    schemes.map((scheme) => challenge(scheme)),
  )
}

/** For a token that is valid and does not reach as far as the request. */
export function denyScope(required: readonly string[], scheme: Scheme = bearerScheme): Denial {
  const error = 'insufficient_scope'
  const scope = scopeList(required)
  return denial(403, error, [challenge(scheme, { error, scope })], { error, scope })
}

/**
 * For a token whose owner has to sign in again, better or just now (RFC 9470, section 3). `scope` where the token does
 * not reach far enough either, so that the client asks for both at once.
 */
export function denyAuthentication(
  { acr, maxAgeSeconds, scopes }: AuthenticationAsked,
  scheme: Scheme = bearerScheme,
): Denial {
  const error = 'insufficient_user_authentication'
  const asked = {
    ...(acr !== undefined && { acr_values: acr.join(' ') }),
    ...(maxAgeSeconds !== undefined && { max_age: String(maxAgeSeconds) }),
    ...(scopes !== undefined && { scope: scopeList(scopes) }),
  }
  return denial(401, error, [challenge(scheme, { error, ...asked })], { error, ...asked })
}

export interface AuthenticationAsked {
  /** Authentication contexts of which one is needed. */
  readonly acr?: readonly string[] | undefined
  readonly maxAgeSeconds?: number | undefined
  readonly scopes?: readonly string[] | undefined
}

function denial(
  status: 401 | 403,
  reason: string,
  challenges: readonly string[],
  body: Readonly<Record<string, string>> = {},
): Denial {
  const headers = {
    'www-authenticate': challenges.join(', '),
    'x-countersign-reason': reason,
    'cache-control': 'no-store',
  }
  return { status, reason, headers, body: { ...body, reason } }
}

/** A denial as it goes over the wire. */
export interface Answer {
  readonly status: 401 | 403
  readonly headers: Record<string, string>
  readonly text: string
}

export function toAnswer({ status, headers, body }: Denial): Answer {
  return {
    status,
    headers: { ...headers, 'content-type': 'application/json; charset=utf-8' },
    text: JSON.stringify(body),
  }
}

/** One challenge (RFC 9110, section 11.6.1). Every value comes from us or was found to need no escape. */
function challenge({ name, parameters }: Scheme, members: Readonly<Record<string, string>> = {}): string {
  const list = Object.entries(members).map(([member, value]) => `${member}="${value}"`)
  if (parameters !== undefined) list.push(parameters)
  return list.length === 0 ? name : `${name} ${list.join(', ')}`
}

/** What was asked for may be the presenter's words: only what is a scope may stand in a header. */
function scopeList(required: readonly string[]): string {
  return required.filter((scope) => scopeToken.test(scope)).join(' ')
}

/** A scheme, spaces, `token68` (RFC 9110, section 11.2). Any other separator is another language. */
const credentialsSyntax = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+) +([A-Za-z0-9._~+/-]+=*)$/

/** RFC 6749, section 3.3. What it allows needs no escape in a quoted string either. */
export const scopeToken = /^[\x21\x23-\x5b\x5d-\x7e]+$/
