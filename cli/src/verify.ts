/**
 * `countersign verify`: what a validator of this system says about a token, as JSON. Whoever inspects a token that is bound
 * to a key or a certificate has no proof of it, and a service that was shown no more than this would refuse it; so it is
 * refused here too, and what else there is to say of it stands apart, in `unproven`.
 * @module
 */

import { text } from 'node:stream/consumers'
import { parseArgs } from 'node:util'
import { createValidator } from '@countersign/validator'
import { claimedConfirmation } from '@countersign/validator/confirmation'
import { isObject, type JsonObject } from '@countersign/validator/json'
import type { Reason } from '@countersign/validator/refusal'
import { locate, withManifest } from './system.ts'

const exits = { accepted: 0, refused: 1 } as const

/**
 * Prints `{accepted, reason?, claims?, kid, receipt}`, or for a bound token that is good but for its proof `{accepted: false,
 * reason, message, kid, unproven: {bound_to, claims, receipt}}`; sets exit code 0 or 1. Throws where nothing was decided.
 */
export async function verify(args: readonly string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      ready: { type: 'string' },
      manifest: { type: 'string' },
      'trust-anchor': { type: 'string' },
      audience: { type: 'string' },
    },
  })
  const [given, ...more] = positionals
  const { audience } = values
  if (audience === undefined) throw new Error('--audience AUD: a token is meant for somebody')
  if (given === undefined || more.length > 0) {
    throw new Error('one token, or - to read it from standard input')
  }
  const token = given === '-' ? (await text(process.stdin)).trim() : given
  const verdict = await withManifest(await locate(values), (follower) => {
    const realm = [...(follower.state?.charter.realms.keys() ?? [])]
    const validator = createValidator({ realm, audience, trust: follower })
    return validator.decide(token, { confirmation: claimedConfirmation(token) })
  })
  if (verdict.accepted) {
    const { claims, kid, receipt } = verdict.token
    const { cnf: bound_to } = claims
    if (isObject(bound_to)) {
      const message = `bound to ${nameBinding(bound_to)}; proof not shown`
      const unproven = { bound_to, claims, receipt }
      print({ accepted: false, reason: 'sender_mismatch' satisfies Reason, message, kid, unproven })
      process.exitCode = exits.refused
      return
    }
    print({ accepted: true, claims, kid, receipt })
    process.exitCode = exits.accepted
  } else {
    const { reason, message, kid } = verdict.refusal
    print({ accepted: false, reason, message, kid })
    process.exitCode = exits.refused
  }
}

/** Of a token that was found to be good but for its proof, so nothing else can stand there. */
function nameBinding({ jkt, 'x5t#S256': certificate }: JsonObject): string {
  const names = [
    ...(jkt === undefined ? [] : [`the key ${jkt}`]),
    ...(certificate === undefined ? [] : [`the certificate ${certificate}`]),
  ]
  return names.join(' and ')
}

function print(verdict: object): void {
  process.stdout.write(`${JSON.stringify(verdict, undefined, 2)}\n`)
}
