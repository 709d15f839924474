/**
 * Reads mail as a program does.
 * @module
 */

import type { Message } from './mailbox.ts'

export type { Message } from './mailbox.ts'

export type MailAnswer =
  | { readonly opened: true; readonly address: string; readonly messages: readonly Omit<Message, 'text'>[] }
  | { readonly opened: false; readonly status: number; readonly reason: string | undefined }

/** The headings of the mailbox that a token opens. Throws when there is no webmail. */
export async function listMessages(webmail: string, token: string): Promise<MailAnswer> {
  const response = await fetch(new URL('/api/messages', webmail), {
    headers: { authorization: `Bearer ${token}` },
    redirect: 'error',
  })
  const body = (await response.json()) as { address: string; messages: Omit<Message, 'text'>[] }
  if (response.ok) return { opened: true, ...body }
  const reason = response.headers.get('x-countersign-reason') ?? undefined
  return { opened: false, status: response.status, reason }
}
