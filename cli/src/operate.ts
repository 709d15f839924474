/**
 * Commands of an operator of a running system, and who has followed them.
 * @module
 */

import { createPrivateKey, type JsonWebKeyInput } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import {
  type Author,
  AuthorityError,
  type Command,
  type CommandAnswer,
  fetchAcks,
  sendCommand,
} from '@countersign/authority/client'
import { publicHalf } from '@countersign/validator/document'
import { readJson } from './files.ts'
import type { System } from './ready.ts'

type Authority = System['authority']

/** How long a command waits for the last acknowledgement before it names who is silent. */
const ACKNOWLEDGE_MILLISECONDS_MAX = 5000
/** How long a kill is tried again while the witness, say, is away; and how often. */
const RETRY_MILLISECONDS_MAX = 60_000
const RETRY_MILLISECONDS = 500

/** What came of a command. */
export interface Operated {
  readonly version: number
  readonly changed: boolean
  /** Until the last acknowledgement, or until patience ended. */
  readonly milliseconds: number
  /** Connected validators that have not acknowledged by then. */
  readonly silent: readonly string[]
  /** Enrolled validators without a connection, which are behind: they refuse everything once their manifest is stale. */
  readonly absent: readonly string[]
}

/**
 * Gives a command as an operator, the first one unless named, and waits until every connected validator has acknowledged.
 * With `onWait`, which hears of it, a command that could not be carried out now is given again for a minute.
 */
export async function operate(
  authority: Authority,
  command: Command,
  operator?: string,
  onWait?: (problem: AuthorityError) => void,
): Promise<Operated> {
  const author = readAuthor(authority, operator)
  const startedAt = performance.now()
  const { version, changed } = await sendPatiently(authority.url, command, author, onWait)
  const behind = await waitForAcknowledgements(authority.url, version)
  return { version, changed, milliseconds: performance.now() - startedAt, ...behind }
}

/** Who has not acknowledged `version`, once every connected validator has or patience has ended. */
export async function waitForAcknowledgements(
  authority: string,
  version: number,
): Promise<Pick<Operated, 'silent' | 'absent'>> {
  const endsAt = performance.now() + ACKNOWLEDGE_MILLISECONDS_MAX
  for (;;) {
    const milliseconds = Math.max(1, endsAt - performance.now())
    const acks = await fetchAcks(authority, { version, milliseconds }).catch((error) => {
      // What was commanded is carried out, and another authority may be about to lead.
      if (!(error instanceof AuthorityError) || !error.retryable || performance.now() > endsAt) throw error
    })
    if (acks === undefined) {
      await delay(RETRY_MILLISECONDS)
      continue
    }
    const behind = acks.validators.filter((validator) => (validator.version ?? 0) < version)
    const names = (connected: boolean): string[] =>
      behind.filter((validator) => validator.connected === connected).map(({ name }) => name)
    const [silent, absent] = [names(true), names(false)]
    if (silent.length === 0 || performance.now() > endsAt) return { silent, absent }
  }
}

async function sendPatiently(
  authority: string,
  command: Command,
  author: Author,
  onWait: ((problem: AuthorityError) => void) | undefined,
): Promise<CommandAnswer> {
  const endsAt = performance.now() + RETRY_MILLISECONDS_MAX
  for (;;) {
    try {
      // Signed anew each time: what narrows trust may be given twice, and an old command is refused.
      return await sendCommand(authority, command, author)
    } catch (error) {
      const mayRetry = error instanceof AuthorityError && error.retryable && isRepeatable(command, error)
      if (onWait === undefined || !mayRetry || performance.now() > endsAt) throw error
      onWait(error)
    }
    await delay(RETRY_MILLISECONDS)
  }
}

/** Whether the key was rotated before the connection broke, here or behind a proxy, nobody can tell; a second rotation would be one too many. */
function isRepeatable({ op }: Command, { code }: AuthorityError): boolean {
  return op !== 'rotate' || (code !== 'unreachable' && code !== 'invalid_answer')
}

/** The key file of an operator, the first one unless named. */
export function readAuthor(
  { operators }: Authority,
  id: string | undefined,
): Author & { readonly id: string } {
  const operator = id === undefined ? operators[0] : operators.find((known) => known.id === id)
  if (operator === undefined) {
    throw new Error(`no operator ${id}; there are ${operators.map(({ id }) => id).join(', ')}`)
  }
  const privateKey = createPrivateKey({
    key: readJson<JsonWebKeyInput['key']>(operator.key_file),
    format: 'jwk',
  })
  return { id: operator.id, kid: publicHalf(privateKey).kid, privateKey }
}
