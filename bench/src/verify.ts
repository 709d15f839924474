/**
 * Verdicts per second beside the libraries that people use today. Ours reads the receipt too; the peers check the
 * signature and the usual claims. Every token of a pass is another one, and each pass starts with empty caches, unless
 * the row says "cached".
 * @module
 */

import { createPublicKey } from 'node:crypto'
import { createValidator, type Validator } from '@countersign/validator'
import { decode } from '@countersign/validator/base64url'
import { decideAll } from '@countersign/validator/bulk'
import { readCompact } from '@countersign/validator/jws'
import { decodeReceipt } from '@countersign/validator/receipt'
import { PushedRoots, SUBTREE_COUNT_MAX, signRoots } from '@countersign/validator/roots'
import { createTestWorld, issuers, mailAudience, type TestWorld } from '@countersign/validator/testing'
import { proveEach } from '@countersign/validator/tree'
import { JwtVerifier } from 'aws-jwt-verify'
import { createVerifier } from 'fast-jwt'
import { importJWK, jwtVerify } from 'jose'
import jsonwebtoken from 'jsonwebtoken'
import { awaited, type Contender, synchronous } from './rounds.ts'

/** More than a validator remembers, so that none is met twice. */
const TOKENS = 2048
const BATCH = 32
/** As many as `decideAll` has under way. */
const AT_ONCE = 64

export interface VerifyPeers {
  readonly uncached: readonly Contender[]
  readonly cached: readonly Contender[]
  /** Many at once, on all cores. */
  readonly bulk: readonly Contender[]
  /** Characters of a token without receipt, with a lone one and with one of a batch of 32. */
  readonly characters: { readonly bare: number; readonly lone: number; readonly batch: number }
}

export async function verifyPeers(): Promise<VerifyPeers> {
  const world = createTestWorld({ now: Math.floor(Date.now() / 1000) })
  const { jwk, kid } = world.keys.consumer
  const lone = Array.from({ length: TOKENS }, () => world.issue())
  // The witness signs for each window of the log, and these are to be batches that fill one.
  while (world.witness.leafHashes.length % BATCH !== 0) world.issue()
  const batch = Array.from({ length: TOKENS / BATCH }, () =>
    world.issueBatch(Array.from({ length: BATCH }, () => ({}))),
  ).flat()
  const bare = world.issue({ receipt: null })
  const statements = statementsOver(world, [...batch, ...lone])
  const newValidator = (roots?: PushedRoots): Validator => {
    const { state } = world
    const trust = { state, ageSeconds: () => 0, roots }
    return createValidator({ realm: 'consumer', audience: mailAudience, trust })
  }

  /** A pass over all tokens by a validator that has met none of them. */
  const ours = (name: string, tokens: readonly string[], roots?: PushedRoots): Contender => {
    let validator = newValidator(roots)
    return synchronous(name, (turn) => {
      if (turn % TOKENS === 0) validator = newValidator(roots)
      return validator.validate(tokens[turn % TOKENS] ?? '')
    })
  }
  const token = (turn: number): string => batch[turn % TOKENS] ?? ''
  /** A text of its own, as each request brings one: of one that was looked up before, the runtime knows the hash. */
  const bytes = batch.map((each) => Buffer.from(each))
  const arriving = (turn: number): string => (bytes[turn % TOKENS] as Buffer).toString('latin1')

  const [issuer, audience] = [issuers.consumer, mailAudience]
  const pem = createPublicKey({ key: { ...jwk }, format: 'jwk' }).export({ type: 'spki', format: 'pem' })
  const joseKey = await importJWK({ ...jwk, kid }, 'ES256')
  const fastOptions = { key: pem, algorithms: ['ES256' as const], allowedIss: issuer, allowedAud: audience }
  const fast = createVerifier({ ...fastOptions, cache: false })
  const fastCached = createVerifier({ ...fastOptions, cache: TOKENS * 2 })
  const aws = JwtVerifier.create({ issuer, audience, jwksUri: `${issuer}/jwks` })
  aws.cacheJwks({ keys: [{ ...jwk, kid, use: 'sig', alg: 'ES256' }] })
  const warm = newValidator()

  return {
    characters: {
      bare: bare.length,
      lone: lone[0]?.length ?? 0,
      batch: Math.max(...batch.map(({ length }) => length)),
    },
    uncached: [
      ours('countersign, batch receipts', batch),
      ours('countersign, lone receipts', lone),
      ours('countersign, batch, pushed roots', batch, rootsOf(world, statements)),
      ours('countersign, lone, pushed roots', lone, rootsOf(world, statements)),
      awaited('jose', (turn) =>
        jwtVerify(token(turn), joseKey, { issuer, audience, typ: 'at+jwt', algorithms: ['ES256'] }),
      ),
      synchronous('fast-jwt', (turn) => fast(token(turn))),
      synchronous('jsonwebtoken', (turn) =>
        jsonwebtoken.verify(token(turn), pem, { issuer, audience, algorithms: ['ES256'] }),
      ),
      synchronous('aws-jwt-verify', (turn) => aws.verifySync(token(turn))),
    ],
    bulk: [
      ours('countersign, in turn', batch),
      passes('countersign, decideAll', async () => {
        for await (const { accepted } of decideAll(newValidator(), batch))
          if (!accepted) throw new Error('a good token was refused')
      }),
      passes(`jose, ${AT_ONCE} at once`, async () => {
        let next = 0
        const keepVerifying = async (): Promise<void> => {
          while (next < TOKENS) {
            await jwtVerify(token(next++), joseKey, {
              issuer,
              audience,
              typ: 'at+jwt',
              algorithms: ['ES256'],
            })
          }
        }
        await Promise.all(Array.from({ length: AT_ONCE }, keepVerifying))
      }),
    ],
    cached: [
      synchronous('countersign', (turn) => warm.validate(arriving(turn))),
      synchronous('fast-jwt', (turn) => fastCached(arriving(turn))),
    ],
  }
}

/** A contender that takes all tokens in one call, again and again. */
function passes(name: string, pass: () => Promise<void>): Contender {
  return {
    name,
    measure: async (milliseconds) => {
      const startedAt = performance.now()
      let count = 0
      for (; performance.now() - startedAt < milliseconds; count += TOKENS) await pass()
      return (count / (performance.now() - startedAt)) * 1000
    },
  }
}

/** What the witness tells of the subtrees that these tokens' receipts are over, in as few statements as they need. */
function statementsOver({ witness, now }: TestWorld, tokens: readonly string[]): readonly string[] {
  const receipts = tokens.map((token) => decodeReceipt(decode(readCompact(token).header.rcpt ?? '')))
  const ranges = new Map(receipts.map(({ start, size }) => [`${start}+${size}`, { start, size }]))
  const subtrees = [...ranges.values()]
    .map(({ start, size }) => ({
      start,
      size,
      root: proveEach(witness.leafHashes.slice(start, start + size)).root,
    }))
    .sort((one, other) => one.start + one.size - (other.start + other.size))
  const statements: string[] = []
  for (let at = 0; at < subtrees.length; at += SUBTREE_COUNT_MAX) {
    const some = subtrees.slice(at, at + SUBTREE_COUNT_MAX)
    statements.push(signRoots(witness.origin, some, now, witness.receiptKey.privateKey))
  }
  return statements
}

/** Heard before the tokens come: what that takes is no part of a verdict. */
function rootsOf({ state }: TestWorld, statements: readonly string[]): PushedRoots {
  const roots = new PushedRoots()
  roots.follow(state)
  for (const statement of statements) roots.take(statement)
  return roots
}
