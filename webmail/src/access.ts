/**
 * Who read what: a line for each message that was shown, with the place in the log of the token that opened it. It is
 * written before the message leaves, so that nothing is read unrecorded, and its owner may read all of it: the theft of
 * 2023 was found by a customer who had paid for such a record.
 * @module
 */

import { closeSync, fstatSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs'
import type { ValidatedToken } from '@countersign/validator/validator'
import type { Message } from './mailbox.ts'

/** One message, shown once. */
export interface Access {
  /** Milliseconds since the epoch. */
  readonly at: number
  /** Of the mailbox's owner, who is also whom the token speaks for. */
  readonly iss: string
  readonly sub: string
  readonly message: string
  readonly client: string | null
  readonly network: string
  readonly kid: string
  readonly origin: string | null
  readonly index: number | null
}

export interface AccessRecord {
  /** Throws where it cannot be written; nothing may be shown then. */
  add(token: ValidatedToken, messages: readonly Pick<Message, 'id'>[], network: string): void
  /** What was shown of the token's own mailbox, the newest first. */
  list(token: ValidatedToken): readonly Access[]
  close(): void
}

/** How many a person is shown; the file has them all. */
const ACCESSES_MAX = 1000

/** Opens the record (mode 0600), made if it is not there. `now` gives milliseconds since the epoch. */
export function openAccessRecord(file: string, now: () => number = Date.now): AccessRecord {
  const descriptor = openSync(file, 'a', 0o600)
  // A line that a crash left unfinished was of a message that was not shown, and the next one would join it.
  ftruncateSync(descriptor, readFileSync(file).lastIndexOf('\n') + 1)
  return {
    add: (token, messages, network) => {
      const { issuer: iss, subject: sub, clientId: client = null, kid, receipt } = token
      const { origin = null, index = null } = receipt ?? {}
      const lines = messages.map(({ id }): string => {
        const access: Access = { at: now(), iss, sub, message: id, client, network, kid, origin, index }
        return `${JSON.stringify(access)}\n`
      })
      const { size } = fstatSync(descriptor)
      try {
        for (let rest = Buffer.from(lines.join('')); rest.length > 0; )
          rest = rest.subarray(writeSync(descriptor, rest))
      } catch (error) {
        ftruncateSync(descriptor, size)
        throw error
      }
    },
    list: ({ issuer, subject }) =>
      readFileSync(file, 'utf8')
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as Access)
        .filter(({ iss, sub }) => iss === issuer && sub === subject)
        .slice(-ACCESSES_MAX)
        .reverse(),
    close: () => closeSync(descriptor),
  }
}
