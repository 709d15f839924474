/**
 * Attacks on the services that issue: make them vouch for what is not so.
 * @module
 */

import { join } from 'node:path'
import { connectBroker } from '@countersign/broker/client'
import type { Arena } from '../arena.ts'
import { forge } from '../forge.ts'
import { accessTokenType, tokenExchange } from './forgeries.ts'
import type { Step } from './step.ts'

export const renewForged: Step = {
  title: 'a forged token is renewed by exchanging it',
  flaws: ['F3'],
  expectation: 'the token endpoint refuses it as proof',
  play: async (arena) => {
    const key = await arena.stealFreshKey('enterprise')
    const token = await forge({ key, claims: arena.victim('enterprise') })
    const client = arena.clientFor('enterprise', tokenExchange)
    const answer = await arena.askTokenEndpoint('enterprise', client, {
      grant_type: tokenExchange,
      subject_token: token,
      subject_token_type: accessTokenType,
    })
    return {
      naiveAccepted: await arena.naive.renews(token),
      held: answer.status === 400 && answer.body['access_token'] === undefined,
      outcome: answer.status === 200 ? 'renewed' : 'refused',
      reason: String(answer.body['error']),
    }
  },
}

export const foreignClaims: Step = {
  title: 'a taken consumer issuer asks its signer for enterprise claims',
  flaws: ['F1', 'F2'],
  expectation: 'the signer refuses: issuer_mismatch',
  play: async (arena) => {
    const claims = arena.victim('enterprise')
    // The issuer that held its key itself would have signed anything.
    const key = await arena.stealFreshKey('consumer')
    const naiveAccepted = (await arena.naive.accept(await forge({ key, claims }))) !== undefined
    const reason = await refusalOf(arena, claims)
    return {
      naiveAccepted,
      held: reason === 'issuer_mismatch',
      outcome: reason === undefined ? 'signed' : 'not signed',
      reason,
    }
  },
}

async function refusalOf(arena: Arena, claims: Record<string, unknown>): Promise<string | undefined> {
  const broker = await connectBroker(join(arena.data, 'run', 'broker-consumer.sock'))
  try {
    await broker.issue({ type: 'access', claims })
    return undefined
  } catch (error) {
    return (error as { code?: string }).code
  } finally {
    broker.close()
  }
}
