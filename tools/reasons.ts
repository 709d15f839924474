/**
 * Writes docs/reasons.md from what the code has: the table of refusals, the sentinel's rules for what is an alarm, and what a guard
 * answers besides. Only what a person does about each is written here, and the compiler wants it for every reason.
 *
 *     node tools/reasons.ts    rewrites the page; test/docs.test.ts fails where somebody should have
 * @module
 */

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ManifestKey } from '@countersign/validator/manifest'
import { type Reason, refusals } from '@countersign/validator/refusal'
import type { Sighting } from '@countersign/validator/sighting'
import { judgeSighting } from '../sentinel/src/rules.ts'
import { root } from './source.ts'

export const page = 'docs/reasons.md'

interface Advice {
  /** What most often lies behind it. */
  readonly means: string
  /** What whoever sent the token, or wrote what sent it, does. */
  readonly developer: string
  /** What whoever runs the service or the issuer does. */
  readonly operator: string
}

const advice: Readonly<Record<Reason, Advice>> = {
  malformed: {
    means:
      'No token that can be read: an opaque token, an ID of something, a token cut off or with its quotes, two `Authorization` headers. Or a claim is missing or of a wrong kind, or `exp` is not after `iat`.',
    developer: 'Send the access token as it was issued, once, after `Bearer `.',
    operator:
      'Of a foreign issuer the message names the claim: `it has no jti; see profile`. If all clients see it, look at what a proxy does to the header.',
  },
  oversized: {
    means: 'More than 16 KiB of token, or 2 KiB of header.',
    developer: 'Ask for fewer claims: groups and roles do not belong into a token by the hundred.',
    operator: 'Single ones are probes.',
  },
  alg_not_allowed: {
    means:
      '`alg` is none of `ES256`, `EdDSA`, `PS256`, `RS256`, `ML-DSA-44`. `none` and `HS256` are old attacks.',
    developer: 'Let the issuer sign with one of the five.',
    operator: 'Tokens of a foreign issuer: name it in `issuers`. Otherwise probes.',
  },
  header_not_allowed: {
    means:
      'The header has a member that is none of `alg`, `typ`, `kid`, `rcpt`. Keys that a header names are never followed. Of a foreign issuer the message names it, if it is a registered one.',
    developer: 'Do not add members; for a foreign issuer see its preset.',
    operator: '`jku`, `x5u` and `jwk` are probes.',
  },
  type_mismatch: {
    means: 'Most often an ID token where an access token is asked for. `typ` says what it is.',
    developer: 'Send the access token; ID tokens are for the client.',
    operator:
      'Of a foreign issuer the message says what was there and what should be. If all of its tokens are refused, they are for another `profile` of its preset.',
  },
  unknown_key: {
    means:
      'A token of another system, of a key that was pruned, or of one that this validator has not heard of yet: by the manifest, or by the key set of a foreign issuer.',
    developer: 'Check which issuer the token is of.',
    operator:
      '`countersign key list`; whether this validator is behind stands in `GET /acks`. A foreign issuer: is the `kid` in its key set? A key that was left out is told to `onProblem`.',
  },
  key_out_of_scope: {
    means:
      'A key that may not sign this, or not here: a consumer token at an enterprise service. In 2023 nobody asked.',
    developer: 'Ask the issuer of the realm that this service is for.',
    operator: 'With an alert: a key signs what its charter forbids. `countersign key block`, then ask how.',
  },
  key_not_active: {
    means: 'The key is published so that everybody knows it in time, and does not sign yet.',
    developer: 'Nothing.',
    operator: 'A signer signed early, or somebody else has its key: `countersign key block`.',
  },
  key_retired: {
    means: 'The key has been replaced and its last token has expired.',
    developer: 'Get a new token; do not keep old ones.',
    operator:
      'With an alert: an old key was stolen. Revoke it, which ends what was exchanged for its tokens too.',
  },
  key_blocked: {
    means: 'An operator or the sentinel blocked the key, for now.',
    developer: 'Get a new token, from a key that is not blocked.',
    operator: 'Expected after a block. Two people lift it or one revokes the key.',
  },
  key_revoked: {
    means: 'The key is revoked for good. Nothing brings it back.',
    developer: 'Get a new token; the user may have to sign in again.',
    operator: 'Expected after a kill. With an alert: the thief is still at it; the alert says where.',
  },
  issuer_mismatch: {
    means:
      'A key that may not speak for the issuer that the token names, or an issuer that is not configured here.',
    developer: 'Check `iss`, to the letter: a slash at its end counts.',
    operator: 'Genuine issuers cannot do this. For a foreign one: its name in `issuers`.',
  },
  tenant_mismatch: {
    means: '`tid` is no tenant of the key, or not the one that `iss` names.',
    developer: 'Sign in to a tenant that this service is for.',
    operator: 'A new tenant: is it in the charter? Otherwise as `issuer_mismatch`.',
  },
  audience_mismatch: {
    means: 'A token for another service, shown here.',
    developer: 'Ask for a token with this service as its audience; do not pass on one that was made for you.',
    operator: 'One service passing on its callers’ tokens shows as this.',
  },
  signature_invalid: {
    means: 'Somebody changed the token, or names a key that is not theirs.',
    developer: 'Send the token byte by byte as it was issued.',
    operator: 'Noise, as long as it is only noise: nobody who has the key gets this.',
  },
  receipt_missing: {
    means:
      'Signed by the key, and no witness saw it issued. Our signers cannot do that: no receipt, no signature.',
    developer: 'Nothing.',
    operator: 'The key was stolen. `countersign key block --kid KID`, if the sentinel has not done it.',
  },
  receipt_invalid: {
    means: 'The receipt is of another token, another log, or is no receipt.',
    developer: 'Send the token as it was issued.',
    operator: 'With an alert as `receipt_missing`. Without: does the manifest name the log?',
  },
  expired: {
    means: '`exp` has passed, tolerance included.',
    developer: 'Refresh in time. Check the clock if a new token is refused.',
    operator: 'Everybody at once: the clock of the validator or the issuer.',
  },
  not_yet_valid: {
    means: '`iat` or `nbf` is more than the tolerance ahead.',
    developer: 'Nothing.',
    operator: 'The clock of the issuer is fast, or that of this validator slow.',
  },
  lifetime_too_long: {
    means: 'Longer than the charter allows its key (`max_ttl`).',
    developer: 'Nothing: lifetimes are the issuer’s.',
    operator: 'Our signers cannot do this. A foreign issuer: `lifetimeSecondsMax` of its preset.',
  },
  issued_outside_key_window: {
    means: '`iat` is from before the key was active, or from after it had stopped signing.',
    developer: 'Nothing.',
    operator: 'Somebody dates back, or the clocks of signer and authority are far apart.',
  },
  issued_before_cutoff: {
    means: 'Everything of this realm, key, tenant or subject that was issued before a time was ended.',
    developer: 'Get a new token: sign in again.',
    operator: 'Expected after a cutoff, a kill or a sign-out everywhere.',
  },
  sender_mismatch: {
    means:
      'The token is bound to a key or certificate and came without proof of it; or it is bound to nothing and this realm takes bound tokens alone, or a proof came with it. The message says whether it is bound.',
    developer: 'Send a DPoP proof, or come with the certificate. For an unbound token: ask for a bound one.',
    operator:
      'Behind a proxy: does it pass on `DPoP`, the certificate, the host? Else a bound token was stolen, and is of no use.',
  },
  manifest_stale: {
    means:
      'This validator has had no word from its authority for too long, or no key set of a foreign issuer, or its clock is wrong. It says nothing about the token.',
    developer: 'Try again: the service cannot decide.',
    operator:
      'Reach the authority from here; `GET /acks` there says since when it has not. Check the clock. Without an authority: `onProblem` hears why no key set came.',
  },
}

/** What a guard answers besides, where the token is good or there is none: no sighting comes of it. */
const besides: readonly (readonly [reason: string, status: number, means: string, does: string])[] = [
  [
    'token_missing',
    401,
    'There is no `Authorization` header.',
    'Send a token. The challenge names the schemes that are taken.',
  ],
  [
    'insufficient_scope',
    403,
    'The token is good, and its scopes do not reach as far as the request.',
    'Ask for the scopes that stand in `scope` of the challenge.',
  ],
  [
    'insufficient_user_authentication',
    401,
    'The token is good, and its owner has to sign in again, better or just now (RFC 9470).',
    'Authorize anew with `acr_values` and `max_age` of the challenge.',
  ],
]

/** The whole page. */
export function reasonsPage(): string {
  const reasons = Object.keys(refusals) as Reason[]
  return [
    '# Reasons',
    '',
    '<!-- Written by tools/reasons.ts from validator/src/refusal.ts and sentinel/src/rules.ts. -->',
    '',
    'Why a token was refused, in one word: in `x-countersign-reason` and the body of the answer, as `reason` of a `Refusal`, in each',
    'sighting and each alert. The words are API. They are asked in this order, and the first that applies is named',
    '([the rules](../spec/verdict.md)). 401: another token may help. 403: this key speaks out of turn.',
    '',
    'An answer says the sentence below and no more. `message` of a `Refusal` may go on behind a colon, for whoever runs the service: which',
    'claim of a foreign token is missing, for example. It names what we know, and never says a word of the token. A guard hands it to',
    '`onRefusal`, as `denial.refusal`: `createGuard(validator, { onRefusal: ({ reason, refusal }) => log(refusal?.message ?? reason) })`.',
    'What a token is bound to (`sender_mismatch`) the sender is told too.',
    '',
    '**Alarm** says when the sentinel raises a critical alert. It takes a valid signature, always: only who holds the key can make one.',
    '',
    '| reason | status | alarm |',
    '| --- | --- | --- |',
    ...reasons.map(
      (reason) => `| [\`${reason}\`](#${reason}) | ${refusals[reason].status} | ${alarmFor(reason)} |`,
    ),
    ...besides.map(([reason, status]) => `| [\`${reason}\`](#${reason}) | ${status} | never |`),
    '',
    ...reasons.flatMap((reason) => section(reason)),
    '## What a guard answers besides',
    '',
    'Nothing is wrong with the token here, or there is none.',
    '',
    ...besides.flatMap(([reason, status, means, does]) => [
      `### ${reason}`,
      '',
      `${status}. ${means} ${does}`,
      '',
    ]),
  ]
    .join('\n')
    .trimEnd()
    .concat('\n')
}

function section(reason: Reason): readonly string[] {
  const { status, message } = refusals[reason]
  const { means, developer, operator } = advice[reason]
  return [
    `### ${reason}`,
    '',
    `${status}: “${message}”. ${means}`,
    '',
    `- Who sent it: ${developer}`,
    `- Who runs it: ${operator}`,
    `- Alarm: ${alarmFor(reason)}.`,
    '',
  ]
}

const key = { realm: 'consumer', tokenTypes: ['access'] } as unknown as ManifestKey

/** Given where no key is known to verify with, or where that failed. */
const unsigned: readonly Reason[] = ['oversized', 'unknown_key', 'signature_invalid']

/** Asks the sentinel's own rules about a sighting of each kind. */
function alarmFor(reason: Reason): string {
  if (unsigned.includes(reason)) return 'never'
  const isAlarm = (change: Partial<Sighting>): boolean =>
    judgeSighting(sightingOf(reason, change), key, 'any') !== undefined
  if (isAlarm({ signatureValid: false, receiptValid: false })) return 'always'
  if (!isAlarm({ signatureValid: true, receiptValid: false })) return 'never'
  if (isAlarm({ signatureValid: true, receiptValid: true })) return 'when the signature is valid'
  if (isAlarm({ signatureValid: true, receiptValid: true, tokenType: 'set' }))
    return 'when the signature is valid and the receipt is not, or the key may not sign this type at all'
  return reason === 'receipt_missing'
    ? 'when the signature is valid'
    : 'when the signature is valid and the receipt is not'
}

function sightingOf(verdict: Reason, change: Partial<Sighting>): Sighting {
  const unknown = {
    manifestVersion: undefined,
    realm: undefined,
    kid: undefined,
    issuer: undefined,
    tenant: undefined,
    tokenType: 'access' as const,
    signatureValid: undefined,
    receiptValid: undefined,
    network: undefined,
  }
  return { verdict, at: 0, ...unknown, ...change }
}

if (import.meta.main) {
  const path = join(root, page)
  const before = readFileSync(path, { encoding: 'utf8', flag: 'a+' })
  const after = reasonsPage()
  writeFileSync(path, after)
  console.log(`${page}: ${before === after ? 'was up to date' : 'rewritten'}`)
}
