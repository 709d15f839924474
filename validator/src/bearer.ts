/**
 * How a protected service reads a bearer token out of a request, and what it answers when it refuses (RFC 6750):
 *
 *     const admission = admit(validator, request.rawHeaders, request.socket.remoteAddress)
 *     if (!admission.admitted) return response.writeHead(admission.denial.status, admission.denial.headers).end()
 *
 * Only the `Authorization` header counts. A token in a query, body or cookie is not looked for: it would end up in
 * logs, or be sent by a browser that its user did not ask. Two headers, or two credentials in one, are refused rather
 * than chosen from, since the next program on the path might choose the other.
 * @module
 */

import { Refusal } from './refusal.ts'
import type { ValidatedToken, Validator } from './validator.ts'

export type Admission =
  | { readonly admitted: true; readonly token: ValidatedToken }
  | { readonly admitted: false; readonly denial: Denial }

/** What to answer instead of the resource. */
export interface Denial {
  readonly status: 401 | 403
  /** Of the table of refusals, or `token_missing`, or `insufficient_scope`. */
  readonly reason: string
  readonly headers: Readonly<Record<string, string>>
}

/**
 * Decides about a request by its headers as they arrived, name and value in turn (Node's `rawHeaders`): a parsed
 * object has already dropped all but one of several. `network` is for the sighting alone.
 */
export function admit(validator: Validator, rawHeaders: readonly string[], network?: string): Admission {
  try {
    const bearer = readBearer(rawHeaders)
    if (bearer === undefined) return { admitted: false, denial: denyMissing() }
    return { admitted: true, token: validator.validate(bearer, { network }) }
  } catch (error) {
    if (error instanceof Refusal) return { admitted: false, denial: deny(error) }
    throw error
  }
}

/** For a token that is valid and does not reach as far as the request. */
export function denyScope(required: readonly string[]): Denial {
  // What was asked for may be the presenter's words: only what is a scope may stand in a header.
  const scopes = required.filter((scope) => scopeToken.test(scope)).join(' ')
  return denial(403, 'insufficient_scope', `Bearer error="insufficient_scope", scope="${scopes}"`)
}

function deny(refusal: Refusal): Denial {
  const description = `error_description="${refusal.message}"`
  return denial(refusal.status, refusal.reason, `Bearer error="invalid_token", ${description}`)
}

/** RFC 6750, section 3.1: no error code for a request that did not try. */
function denyMissing(): Denial {
  return denial(401, 'token_missing', 'Bearer')
}

function denial(status: 401 | 403, reason: string, challenge: string): Denial {
  const headers = {
    'www-authenticate': challenge,
    'x-countersign-reason': reason,
    'cache-control': 'no-store',
  }
  return { status, reason, headers }
}

/** `Bearer`, spaces, `token68` (RFC 9110, section 11.2). Any other separator is another language. */
const credentials = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+) +([A-Za-z0-9._~+/-]+=*)$/

/** RFC 6749, section 3.3. */
const scopeToken = /^[\x21\x23-\x5b\x5d-\x7e]+$/

function readBearer(rawHeaders: readonly string[]): string | undefined {
  const values = rawHeaders.filter((_, at) => at % 2 === 1 && isAuthorization(rawHeaders[at - 1]))
  const [value, ...others] = values
  if (value === undefined) return undefined
  if (others.length > 0) throw new Refusal('malformed')
  const [, scheme, token] = credentials.exec(value) ?? []
  if (scheme?.toLowerCase() !== 'bearer' || token === undefined) throw new Refusal('malformed')
  return token
}

function isAuthorization(name: string | undefined): boolean {
  return name?.toLowerCase() === 'authorization'
}
