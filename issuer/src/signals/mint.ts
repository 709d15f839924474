/**
 * Makes the SET of an event that waits, at its first delivery, through the broker like every token: logged, countersigned,
 * and signed by the realm's key for SETs. A retry sends the same text, unless the key has died in between: then the event
 * gets a new signature under its old `jti`.
 * @module
 */

import { parseCompact } from '@countersign/validator/jws'
import type { TrustSource } from '@countersign/validator/manifest'
import type { Issue } from '../issuance.ts'
import type { Outbox, Waiting } from './outbox.ts'
import type { Stream } from './streams.ts'

/** The interoperability profile of CAEP has it so; tokens of other kinds are never signed with it. */
const ALGORITHM = 'RS256'

export interface MintOptions {
  readonly issuer: string
  readonly issue: Issue
  readonly trust: TrustSource
  readonly outbox: Pick<Outbox, 'keep'>
  /** Seconds since the epoch. */
  readonly now: () => number
}

/** Rejects when the signer or the witness refuses or cannot be reached. */
export type Mint = (stream: Pick<Stream, 'clientId'>, waiting: Waiting) => Promise<string>

export function createMint({ issuer, issue, trust, outbox, now }: MintOptions): Mint {
  return async ({ clientId }, { sequence, jti, type, event, token: made, kid: madeWith }) => {
    if (made !== undefined && isLive(madeWith)) return made
    const token = await issue(
      'set',
      {
        iss: issuer,
        aud: clientId,
        iat: now(),
        jti,
        txn: event.cause,
        sub_id: event.subject,
        events: { [type]: event.payload },
      },
      ALGORITHM,
    )
    await outbox.keep(sequence, token, String(parseCompact(token).header['kid']))
    return token
  }

  function isLive(kid: string | undefined): boolean {
    const key = trust.state?.manifest.keys.get(kid ?? '')
    return (
      key !== undefined && (key.state === 'active' || key.state === 'retiring') && now() < key.verifyUntil
    )
  }
}
