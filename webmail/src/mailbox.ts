/**
 * Whose mail is where. A mailbox opens to a validated token only, and by what the token's issuer calls the person:
 * never by an address, which anybody can claim, nor by the subject alone, which another issuer may use for somebody
 * else.
 * @module
 */

import { watch } from 'node:fs'
import { basename, dirname } from 'node:path'
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

/** Mail that arrives by being written into the file. */
export interface Mailboxes {
  readonly open: OpenMailbox
  /** Calls back after each change. Gives back how to stop that. */
  onChange(listener: () => void): () => void
  close(): void
}

/** Opens the file of mailboxes and reads it anew when it changes; one that cannot be read leaves what was there. */
export function openMailboxes(file: string, onProblem: (problem: Error) => void): Mailboxes {
  const listeners = new Set<() => void>()
  let read = readMailboxes(file)
  // The folder, since the file is replaced whole and a new file is another to the kernel.
  const watcher = watch(dirname(file), (_event, name) => {
    if (name !== null && name !== basename(file)) return
    try {
      read = readMailboxes(file)
    } catch (error) {
      return onProblem(error as Error)
    }
    for (const listener of listeners) listener()
  })
  watcher.on('error', onProblem)
  return {
    open: (token) => read(token),
    onChange: (listener) => {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    close: () => watcher.close(),
  }
}

/** Those that follow a message; all of them, where it is not there any more, and where none is named. */
export function newerThan(messages: readonly Message[], id: string | undefined): readonly Message[] {
  return messages.slice(messages.findIndex((message) => message.id === id) + 1)
}

/** Reads the file of mailboxes. Throws when two would open to the same token. */
export function readMailboxes(file: string): OpenMailbox {
  const mailboxes = new Map<string, Mailbox>()
  for (const box of readConfig(file, z.array(mailbox))) {
    const owner = ownerOf(box)
    if (mailboxes.has(owner)) throw new Error(`${file} has two mailboxes for ${owner}`)
    mailboxes.set(owner, box)
  }
  return (token) => mailboxes.get(ownerOf(token))
}

/** A message of this mailbox and no other, whatever ids exist elsewhere. */
export function findMessage({ messages }: Mailbox, id: string): Message | undefined {
  return messages.find((message) => message.id === id)
}

/** Two texts as one, so that no choice of the first reaches into the second. */
export function ownerOf({ issuer, subject }: Pick<Mailbox, 'issuer' | 'subject'>): string {
  return JSON.stringify([issuer, subject])
}
