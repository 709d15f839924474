/**
 * Tokens that were never issued, made with what was stolen.
 * @module
 */

import { createHmac, createPublicKey } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { decode, encode } from '@countersign/validator/base64url'
import { encodeEntry, entryOf, leafHash } from '@countersign/validator/entry'
import { countersignedMessage, decodeReceipt, encodeReceipt } from '@countersign/validator/receipt'
import { exportJWK, generateKeyPair, importJWK, type JWK } from 'jose'
import type { Arena } from '../arena.ts'
import { accessClaims, forge, type StolenKey, segment, unsigned } from '../forge.ts'
import { type Step, showToken } from './step.ts'

export const inactiveKey: Step = {
  title: 'an inactive consumer key signs for an enterprise account',
  flaws: ['F1', 'F2', 'F4'],
  expectation: 'refused key_not_active',
  play: async (arena) => {
    const key = await arena.steal('consumer', arena.keyInState('consumer', 'published') ?? '')
    const played = await showToken(
      arena,
      await forge({ key, claims: arena.victim('enterprise') }),
      'key_not_active',
    )
    // It stands next in line: burnt before it ever signs, so that no later step rotates to it.
    await arena.command({ op: 'block', kid: key.kid, reason: 'drill' })
    return played
  },
}

export const foreignRealm: Step = {
  title: 'the active consumer key signs for an enterprise account',
  flaws: ['F1', 'F2', 'F9'],
  expectation: 'refused issuer_mismatch, and key_out_of_scope by a validator of the enterprise realm alone',
  play: async (arena) => {
    const key = await arena.stealFreshKey('consumer')
    const token = await forge({ key, claims: arena.victim('enterprise') })
    const alone = arena.enterpriseValidator.decide(token)
    const played = await showToken(arena, token, 'issuer_mismatch')
    const held = played.held && !alone.accepted && alone.refusal.reason === 'key_out_of_scope'
    return { ...played, held }
  },
}

export const neverIssued: Step = {
  title: 'the active key signs within its scope what was never issued',
  flaws: ['F8'],
  expectation: 'refused receipt_missing',
  play: async (arena) => {
    const key = await arena.stealFreshKey('enterprise')
    return showToken(arena, await forge({ key, claims: arena.victim('enterprise') }), 'receipt_missing')
  },
}

export const borrowedReceipt: Step = {
  title: 'the receipt of a genuine token rides on other claims',
  flaws: ['F8'],
  expectation: 'refused receipt_invalid',
  play: async (arena) => {
    const key = await arena.stealFreshKey('enterprise')
    const { rcpt } = readHeader(await arena.genuineToken('enterprise'))
    return showToken(
      arena,
      await forge({ key, claims: arena.victim('enterprise'), header: { rcpt } }),
      'receipt_invalid',
    )
  },
}

export const headerTricks: Step = {
  title: 'the header says where the key is: jwk, jku, kid, alg',
  flaws: ['F2'],
  expectation:
    'each refused: header_not_allowed, header_not_allowed, unknown_key, alg_not_allowed, alg_not_allowed',
  play: async (arena) => {
    const tricks = await makeTricks(arena)
    const played = []
    for (const { token, reason } of tricks) played.push(await showToken(arena, token, reason))
    return {
      naiveAccepted: played.every(({ naiveAccepted }) => naiveAccepted),
      held: played.every(({ held }) => held),
      outcome: `${played.filter(({ held }) => held).length} of ${tricks.length} refused`,
      reason: [...new Set(played.map(({ reason }) => reason))].join(', '),
    }
  },
}

async function makeTricks(arena: Arena): Promise<{ token: string; reason: string }[]> {
  const claims = arena.victim('enterprise')
  const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true })
  const own = { ...(await exportJWK(privateKey)), kid: 'mine' }
  const published = (await exportJWK(publicKey)) as JWK
  const jku = await serveOnce({ keys: [{ ...published, kid: 'mine' }] })
  const stolen = await arena.stealFreshKey('enterprise')
  const { kid } = stolen
  const genuine = arena.follower.state?.manifest.keys.get(kid)
  const pem = createPublicKey({ key: { ...genuine?.jwk }, format: 'jwk' }).export({
    type: 'spki',
    format: 'pem',
  })
  const mac = `${segment({ alg: 'HS256', typ: 'at+jwt', kid })}.${segment(claims)}`
  return [
    { token: await forge({ key: own, claims, header: { jwk: published } }), reason: 'header_not_allowed' },
    { token: await forge({ key: own, claims, header: { jku } }), reason: 'header_not_allowed' },
    {
      token: await forge({ key: stolen, claims, header: { kid: `${kid}/../${kid}` } }),
      reason: 'unknown_key',
    },
    { token: unsigned(claims, { alg: 'nOnE', typ: 'at+jwt', kid }), reason: 'alg_not_allowed' },
    {
      token: `${mac}.${createHmac('sha256', pem).update(mac).digest('base64url')}`,
      reason: 'alg_not_allowed',
    },
  ]
}

export const crossTenantActor: Step = {
  title: 'an unsigned token for another tenant carries a signed actor token',
  flaws: ['F14'],
  expectation: 'refused by gateway and token exchange',
  play: async (arena) => {
    await arena.stealFreshKey('enterprise')
    const actortoken = await arena.genuineToken('enterprise')
    const [, other] = arena.ready.realms.enterprise.issuers
    const person = arena.ready.realms.enterprise.people.find(({ tenant }) => tenant === other?.tenant)
    const victim = { iss: other?.issuer ?? '', sub: person?.sub ?? '', tid: other?.tenant ?? '' }
    const claims = accessClaims({ ...victim, aud: arena.ready.gateway.audience })
    const token = unsigned({ ...claims, actortoken }, { alg: 'none', typ: 'at+jwt' })
    const naiveAccepted = (await arena.naive.acceptActor(token)) !== undefined
    const answer = await arena.ask(token)
    const exchange = await arena.askTokenEndpoint(
      'enterprise',
      arena.clientFor('enterprise', tokenExchange),
      {
        grant_type: tokenExchange,
        subject_token: token,
        subject_token_type: accessTokenType,
        actor_token: actortoken,
        actor_token_type: accessTokenType,
      },
    )
    return {
      naiveAccepted,
      held: answer.reason === 'alg_not_allowed' && exchange.status === 400,
      outcome: 'refused by both',
      reason: answer.reason,
    }
  },
}

export const tokenExchange = 'urn:ietf:params:oauth:grant-type:token-exchange'
export const accessTokenType = 'urn:ietf:params:oauth:token-type:access_token'

export const bothKeys: Step = {
  title: 'signing key and witness key stolen together',
  flaws: ['F6', 'F8'],
  expectation: 'accepted offline, then exposed: the log holds no such entry',
  play: async (arena) => {
    const key = await arena.stealFreshKey('enterprise')
    const witness = await arena.stealWitnessKey()
    const genuine = await arena.genuineToken('enterprise')
    const token = await forgeReceipt(arena, genuine, key, witness)
    const naiveAccepted = (await arena.naive.accept(token)) !== undefined
    const offline = arena.validator.decide(token).accepted
    const startedAt = performance.now()
    await arena.ask(token)
    const alert = await arena.waitForAlert(key.kid)
    const alertMilliseconds = Math.round(performance.now() - startedAt)
    return {
      naiveAccepted,
      held: offline && alert.rule === 'log_mismatch',
      outcome: `${offline ? 'accepted' : 'refused'} offline, then exposed by`,
      reason: alert.rule,
      figures: { 'milliseconds to exposure': alertMilliseconds },
    }
  },
}

/** A token that claims the log place of a genuine one, with a countersignature that the witness never made. */
async function forgeReceipt(
  arena: Arena,
  genuine: string,
  key: StolenKey,
  witness: StolenKey,
): Promise<string> {
  const claims = arena.victim('enterprise')
  const original = decodeReceipt(decode(readHeader(genuine).rcpt ?? ''))
  const log = arena.follower.state?.manifest.logs.get(original.keyId)
  if (log === undefined) throw new Error('the manifest does not name the log of a genuine receipt')
  const start = original.start + original.offset
  const entry = entryOf({
    tokenType: 'access',
    kid: key.kid,
    issuedAt: Number(claims['iat']),
    expiresAt: Number(claims['exp']),
    serial: original.serial,
    payloadSegment: segment(claims),
  })
  const message = countersignedMessage(
    log.witness,
    log.origin,
    { start, end: start + 1 },
    leafHash(encodeEntry(entry)),
  )
  const privateKey = (await importJWK(witness, 'ES256')) as CryptoKey
  const signature = new Uint8Array(
    await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, privateKey, Buffer.from(message)),
  )
  const rcpt = encode(encodeReceipt({ ...original, start, size: 1, offset: 0, path: [], signature }))
  return forge({ key, claims, header: { rcpt } })
}

function readHeader(token: string): { readonly rcpt?: string } {
  return JSON.parse(Buffer.from(token.split('.')[0] ?? '', 'base64url').toString())
}

/** The attacker's own key set, on a loopback address, for whoever follows `jku`. */
async function serveOnce(keySet: object): Promise<string> {
  const server = createServer((_request, response) => response.end(JSON.stringify(keySet))).listen(
    0,
    '127.0.0.1',
  )
  await once(server, 'listening')
  server.unref()
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
}
