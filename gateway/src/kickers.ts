/**
 * The mail servers that end sessions with their tokens: one kicker for each client that is one, once in a gateway, however many
 * processes decide.
 * @module
 */

import type { Logger } from '@countersign/service'
import type { ValidatedToken, Validator } from '@countersign/validator/validator'
import type { IntrospectionClient } from './introspect.ts'
import { createKicker, type Kicker } from './kick.ts'

export interface Kickers {
  /** These are the clients from now on. The tokens that are watched already are watched on, whatever they say. */
  take(clients: readonly IntrospectionClient[]): void
  /** Whether sessions that this client opens by the token end with it; of a client that is no mail server, nothing has to. */
  watch(clientId: string, token: ValidatedToken): boolean
  /** How many tokens are watched. */
  readonly watched: number
  stop(): void
}

/** `validator` is asked for once there is a mail server. */
export function createKickers(validator: () => Pick<Validator, 'hold'>, log: Logger): Kickers {
  const all = new Map<string, Kicker>()
  let byClient: ReadonlyMap<string, Kicker> = new Map()

  function kickerOf({ client_id, kick: target }: IntrospectionClient): readonly [string, Kicker][] {
    if (target === undefined) return []
    const name = JSON.stringify([client_id, target])
    const onProblem = (problem: Error): void =>
      log.error({ client_id, problem: problem.message }, 'sessions are still open')
    const kicker = all.get(name) ?? createKicker({ target, validator: validator(), onProblem })
    all.set(name, kicker)
    return [[client_id, kicker]]
  }

  return {
    take: (clients) => {
      byClient = new Map(clients.flatMap(kickerOf))
    },
    watch: (clientId, token) => byClient.get(clientId)?.watch(token) ?? true,
    get watched() {
      return [...all.values()].reduce((sum, { watched }) => sum + watched, 0)
    },
    stop: () => {
      for (const kicker of all.values()) kicker.stop()
    },
  }
}
