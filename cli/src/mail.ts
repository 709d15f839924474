/**
 * Sample mailboxes, one for each person of the sample world.
 * @module
 */

export interface MailboxOwner {
  readonly issuer: string
  readonly sub: string
  readonly username: string
}

export interface Mailbox {
  readonly issuer: string
  readonly subject: string
  readonly address: string
  readonly messages: readonly {
    readonly id: string
    readonly from: string
    readonly subject: string
    readonly date: string
    readonly text: string
  }[]
}

const letters = [
  {
    from: 'keys@countersign.example',
    subject: 'Your signing keys rotate tonight',
    text: 'The next key has been published and every validator has confirmed it. There is nothing for you to do.',
  },
  {
    from: 'travel@tickets.example',
    subject: 'Itinerary: Lisbon, 3 nights',
    text: 'Outbound Thursday 07:40, seat 14A. The return is flexible until the day before.',
  },
  {
    from: 'board@minutes.example',
    subject: 'Minutes, confidential',
    text: 'Attached are the minutes that an attacker would have liked to read.',
  },
] as const

/** A mailbox is found by issuer and subject, never by its address: an address can be claimed by anybody. */
export function sampleMail(owners: readonly MailboxOwner[]): Mailbox[] {
  return owners.map(({ issuer, sub, username }, box) => ({
    issuer,
    subject: sub,
    address: username,
    messages: letters.map((letter, index) => ({
      id: `${box + 1}-${index + 1}`,
      date: new Date(Date.UTC(2026, 10, 2 + index, 8 + box)).toISOString(),
      ...letter,
    })),
  }))
}
