/**
 * Which of several authorities on one data folder leads. The one that holds the lease makes keys and manifests; the
 * others deliver what it publishes, take acknowledgements, and stand by.
 *
 * Nobody compares clocks: a holder shows that it lives by counting up, and who has watched the count stand still for
 * long enough, on a clock of its own that never jumps, takes over. What makes that safe is not the wait but the token,
 * which grows with each hand-over and is compared in the transaction of everything that the holder writes: one that was
 * suspended, and wakes up believing that it leads, can publish nothing.
 * @module
 */

export interface LeaseRow {
  /** Grows with each holder. */
  readonly token: number
  /** Null when it was given back. */
  readonly holder: string | null
  /** Grows while the holder lives. */
  readonly beat: number
}

/** Where the lease stands written. Each is one transaction. */
export interface LeaseBook {
  readLease(): Promise<LeaseRow>
  /** Makes `holder` the one that writes from now on, if nothing has changed since `seen`. Says whether it did. */
  takeLease(seen: LeaseRow, holder: string): Promise<boolean>
  /** Counts up. False when somebody else has taken over. */
  renewLease(): Promise<boolean>
  /** Gives the lease back, if it still is held. */
  releaseLease(): Promise<void>
}

export interface Lease {
  /** Whether this process leads, as far as it can know without asking. */
  readonly isHeld: boolean
  /** Renews the lease, or takes it when it is free or its holder has gone. To be called several times a second. */
  look(): Promise<boolean>
  release(): Promise<void>
}

/** A holder that has not counted up for so long has gone. */
export const LEASE_MILLISECONDS = 3000
const RENEWAL_MILLISECONDS = 1000

/** `monotonic` gives milliseconds. */
export function createLease(
  book: LeaseBook,
  holder: string,
  monotonic: () => number = () => performance.now(),
): Lease {
  let heldSince: number | undefined
  let watched: { readonly row: LeaseRow; readonly since: number } | undefined

  async function renew(): Promise<void> {
    // Before it is asked: what passes while it is under way counts against us.
    const at = monotonic()
    if (await book.renewLease()) heldSince = at
    else heldSince = undefined
  }

  async function take(): Promise<void> {
    const at = monotonic()
    const row = await book.readLease()
    const isSame = watched?.row.token === row.token && watched.row.beat === row.beat
    if (!isSame) watched = { row, since: at }
    const hasGone = isSame && watched !== undefined && at - watched.since >= LEASE_MILLISECONDS
    if ((row.holder === null || hasGone) && (await book.takeLease(row, holder))) {
      heldSince = at
      watched = undefined
    }
  }

  function isHeld(): boolean {
    return heldSince !== undefined && monotonic() - heldSince < LEASE_MILLISECONDS
  }

  return {
    get isHeld() {
      return isHeld()
    },
    look: async () => {
      if (heldSince === undefined) await take()
      else if (monotonic() - heldSince >= RENEWAL_MILLISECONDS) await renew()
      return isHeld()
    },
    release: async () => {
      if (heldSince === undefined) return
      heldSince = undefined
      await book.releaseLease()
    },
  }
}
