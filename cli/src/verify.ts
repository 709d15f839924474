/**
 * `countersign verify`: what a validator of this system says about a token, as JSON.
 * @module
 */

import { text } from 'node:stream/consumers'
import { parseArgs } from 'node:util'
import { createValidator } from '@countersign/validator'
import { locate, withManifest } from './system.ts'

const exits = { accepted: 0, refused: 1 } as const

/** Prints `{accepted, reason?, claims?, kid, receipt}`; sets exit code 0 or 1. Throws where nothing was decided. */
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
    return createValidator({ realm, audience, trust: follower }).decide(token)
  })
  if (verdict.accepted) {
    const { claims, kid, receipt } = verdict.token
    print({ accepted: true, claims, kid, receipt })
    process.exitCode = exits.accepted
  } else {
    const { reason, message, kid } = verdict.refusal
    print({ accepted: false, reason, message, kid })
    process.exitCode = exits.refused
  }
}

function print(verdict: object): void {
  process.stdout.write(`${JSON.stringify(verdict, undefined, 2)}\n`)
}
