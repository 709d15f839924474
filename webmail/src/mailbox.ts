/**
 * Whose mail is where. A mailbox opens to a validated token only, and by what the token's issuer calls the person:
 * never by an address, which anybody can claim, nor by the subject alone, which another issuer may use for somebody
 * else.
 * @module
 */

import { readConfig } from '@countersign/service/config'
import type { ValidatedToken } from '@countersign/validator/validator'
import { z } from 'zod'

const message = z.strictObject({
  id: z.string().min(1),
  from: z.string(),
  subject: z.string(),
  /** RFC 3339. */
  date: z.iso.datetime(),
  text: z.string(),
})

const mailbox = z.strictObject({
  issuer: z.string().min(1),
  /** The `sub` of its owner, as that issuer has it. */
  subject: z.string().min(1),
  /** Shown; never looked up. */
  address: z.string(),
  messages: z.array(message),
})

export type Message = z.infer<typeof message>
export type Mailbox = z.infer<typeof mailbox>

/** Gives a token its own mailbox, or undefined where it has none. */
export type OpenMailbox = (token: ValidatedToken) => Mailbox | undefined

/** Reads the file of mailboxes. Throws when two would open to the same token. */
export function readMailboxes(file: string): OpenMailbox {
  const mailboxes = new Map<string, Mailbox>()
  for (const box of readConfig(file, z.array(mailbox))) {
    const owner = nameOf(box.issuer, box.subject)
    if (mailboxes.has(owner)) throw new Error(`${file} has two mailboxes for ${owner}`)
    mailboxes.set(owner, box)
  }
  return (token) => mailboxes.get(nameOf(token.issuer, token.subject))
}

/** A message of this mailbox and no other, whatever ids exist elsewhere. */
export function findMessage({ messages }: Mailbox, id: string): Message | undefined {
  return messages.find((message) => message.id === id)
}

/** Two texts as one, so that no choice of the first reaches into the second. */
function nameOf(issuer: string, subject: string): string {
  return JSON.stringify([issuer, subject])
}
