/**
 * The validator for edge functions: the same verdicts, from the same code, with the runtime's own WebCrypto, which answers later.
 * Nothing of Node is needed, and nothing lives between two requests:
 *
 *     const trust = createEdgeTrust({ authority: 'https://authority.example', trustAnchor })
 *     const validator = createEdgeValidator({ realm: 'consumer', audience: 'https://mail.example', trust })
 *     const guard = createEdgeGuard(validator, { scopes: 'mail.read' })
 *
 *     export default {
 *       fetch: async (request: Request) => {
 *         const admission = await guard.admit(request)
 *         if (!admission.admitted) return admission.response
 *         return Response.json({ of: admission.token.subject })
 *       },
 *     }
 *
 * It runs on Node as well, by Node's cryptography.
 * @module
 */

import { toAnswer } from './bearer.ts'
import type { EdgeTrust } from './edge-trust.ts'
import { type Binding, createGuard, type Guard, type GuardOptions, type Needs } from './guard.ts'
import type { Hold } from './hold.ts'
import { settle } from './settle.ts'
import {
  createValidator,
  type Decision,
  type Sender,
  type ValidatedToken,
  type ValidatorOptions,
} from './validator.ts'

export type { TrustAnchor } from './charter.ts'
export { createEdgeTrust, type EdgeStore, type EdgeTrust, type EdgeTrustOptions } from './edge-trust.ts'
export { type Reason, Refusal } from './refusal.ts'
export { acceptWithoutReceipt, type Decision, type Sender, type ValidatedToken } from './validator.ts'

/** As of a validator on Node; its trust may be one that is asked for. */
export interface EdgeValidatorOptions extends Omit<ValidatorOptions, 'trust'> {
  /** Where keys and their states come from. */
  readonly trust: ValidatorOptions['trust'] | EdgeTrust
}

/** Decides about tokens. A fault of the world rejects as it is, and is never taken for a verdict. */
export interface EdgeValidator {
  /** Takes a compact JWS as it came. Rejects with `Refusal`, whose `reason` is the first that applies. */
  validate(token: string, sender?: Sender): Promise<ValidatedToken>
  /** The same, with the refusal given instead of thrown. */
  decide(token: string, sender?: Sender): Promise<Decision>
  /** Watches over a token that it accepted, for what outlives the request: see hold.ts. */
  hold(token: ValidatedToken): Hold
}

/** Throws `TypeError` where something that decides trust is left open, or an option is not known. */
export function createEdgeValidator(options: EdgeValidatorOptions): EdgeValidator {
  // Their keys are followed in the background, which there is none of here.
  if ('issuers' in options) throw new TypeError('createEdgeValidator takes no tokens of other issuers')
  const validator = createValidator(options)
  const { trust } = options
  const decided = async <Result>(decide: () => Result): Promise<Awaited<Result>> => {
    if ('refresh' in trust) await trust.refresh()
    return settle(decide)
  }
  return {
    validate: (token, sender) => decided(() => validator.validate(token, sender)),
    decide: (token, sender) => decided(() => validator.decide(token, sender)),
    hold: validator.hold,
  }
}

/** What came of a request: its token, or what to answer instead. */
export type EdgeAdmission =
  | {
      readonly admitted: true
      readonly token: ValidatedToken
      /** To be sent with the answer. */
      readonly headers: Readonly<Record<string, string>>
    }
  | { readonly admitted: false; readonly response: Response }

/** What the runtime knows of a request besides itself. */
export interface EdgeHints {
  /** Where it came from. */
  readonly network?: string | undefined
  /** How its sender speaks TLS. */
  readonly fingerprint?: string | undefined
}

/** Stands in front of what needs a token. */
export interface EdgeGuard {
  /** Rejects only where the world failed; what is wrong with a request is a denial. */
  admit(request: Request, hints?: EdgeHints): Promise<EdgeAdmission>
  /** A guard that asks for this too. */
  requiring(needs: Needs): EdgeGuard
}

/**
 * The guard of guard.ts for requests of the Fetch standard: scopes, step-up, proofs of possession, answers by RFC 6750. Throws
 * `TypeError` where an option is not known or would ask for nothing.
 */
export function createEdgeGuard(validator: EdgeValidator, options: GuardOptions = {}): EdgeGuard {
  const { bindings = [] } = options
  return edgeGuard(createGuard(validator, { ...options, bindings: bindings.map(settling) }))
}

function edgeGuard(guard: Guard): EdgeGuard {
  return {
    admit: async (request, hints) => {
      const admission = await guard.admit({
        ...hints,
        source: request,
        // Fetch joins what came twice by a comma, which no credential has in it.
        rawHeaders: [...request.headers].flat(),
        method: request.method,
        target: request.url.replace(/^[a-z+.-]+:\/\/[^/?#]*/i, ''),
      })
      if (admission.admitted) return admission
      const { text, ...answer } = toAnswer(admission.denial)
      return { admitted: false, response: new Response(text, answer) }
    },
    requiring: (needs) => edgeGuard(guard.requiring(needs)),
  }
}

/** A proof is signed as well. */
function settling(binding: Binding): Binding {
  return {
    ...binding,
    confirm: (request, credentials) => settle(() => binding.confirm(request, credentials)),
  }
}
