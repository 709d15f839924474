/**
 * The signers of one realm. Usually there is one; while a realm moves to another keystore there are two, the active key
 * passes from one to the other, and no request fails over it. A signer that is no longer configured is stopped once what it
 * prepared is signed.
 * @module
 */

import { LineError } from '@countersign/lines'
import type { PreparedAnswer, Problem, SignedAnswer, SigningRequest } from '@countersign/signer/client'
import type { TrustDocuments } from '@countersign/validator/trust'
import type { SupervisedSigner } from './supervise.ts'

/** What one signer prepared, and who has to sign it. */
export interface Assigned extends PreparedAnswer {
  readonly signer: SupervisedSigner
}

/** What a batch is signed with: the signers that there were when it began, until it is released. */
export interface Lease {
  /** Rejects with `signer_unavailable` when none is ready after so long. */
  ready(milliseconds: number): Promise<void>
  prepare(requests: readonly SigningRequest[]): Promise<readonly (Assigned | Problem)[]>
  sign(
    receipted: readonly { readonly assigned: Assigned; readonly receipt: string }[],
  ): Promise<readonly (SignedAnswer | Problem)[]>
  release(): void
}

interface Member {
  readonly signer: SupervisedSigner
  leases: number
  /** Set when it is to be stopped: called when the last lease is released. */
  onIdle?: () => void
}

export class RealmSigners {
  /** The one that prepared something last comes first. */
  #members: readonly Member[]
  #documents: TrustDocuments | undefined
  #bringing: Promise<unknown> = Promise.resolve()

  constructor(signers: readonly SupervisedSigner[]) {
    this.#members = signers.map((signer) => ({ signer, leases: 0 }))
  }

  get all(): readonly SupervisedSigner[] {
    return this.#members.map(({ signer }) => signer)
  }

  /** The signer with this identity, or the only one. Throws `LineError`: `unknown_signer`. */
  find(identity: string | undefined): SupervisedSigner {
    const named = this.all.filter(
      (signer) => identity === undefined || signer.description.identity === identity,
    )
    const [signer, ...others] = named
    if (signer === undefined || others.length > 0)
      throw new LineError('unknown_signer', 'the realm has no signer, or several, that this could mean')
    return signer
  }

  /** Brings newer trust to all of them. */
  trust(documents: TrustDocuments): void {
    this.#documents = documents
    this.#bringing = Promise.allSettled(this.all.map((signer) => signer.trust(documents)))
  }

  /** Takes in one that has been started. Settles once it has been brought what the others have. */
  async add(signer: SupervisedSigner): Promise<void> {
    // What comes while it is brought something reaches the others alone, so it is looked at again.
    for (let brought: TrustDocuments | undefined; brought !== this.#documents; ) {
      brought = this.#documents as TrustDocuments
      await signer.trust(brought)
    }
    this.#members = [...this.#members, { signer, leases: 0 }]
  }

  /** Asks one nothing new, and stops it once what it prepared is signed or given up. */
  async remove(signer: SupervisedSigner): Promise<void> {
    const member = this.#members.find((each) => each.signer === signer)
    if (member === undefined) return
    this.#members = this.#members.filter((each) => each !== member)
    if (member.leases > 0) {
      const idle = Promise.withResolvers<void>()
      member.onIdle = idle.resolve
      await idle.promise
    }
    await signer.stop()
  }

  async stop(): Promise<void> {
    await Promise.all(this.all.map((signer) => signer.stop()))
  }

  lease(): Lease {
    const members = this.#members
    for (const member of members) member.leases++
    return {
      ready: (milliseconds) => anyReady(members, milliseconds),
      prepare: (requests) => this.#prepare(members, requests),
      sign: (receipted) => sign(receipted),
      release: () => {
        for (const member of members) if (--member.leases === 0) member.onIdle?.()
      },
    }
  }

  async #prepare(
    members: readonly Member[],
    requests: readonly SigningRequest[],
  ): Promise<readonly (Assigned | Problem)[]> {
    const answers = await this.#ask(members, requests)
    const isMissed = members.length > 1 && answers.some(isElsewhere)
    if (!isMissed) return answers
    // Between two manifests the one signer may have laid the key down that the other has not taken up yet.
    await this.#bringing
    return this.#ask(members, requests, answers)
  }

  /** Asks one after the other, each what none before it could prepare. */
  async #ask(
    members: readonly Member[],
    requests: readonly SigningRequest[],
    before: readonly (Assigned | Problem)[] = [],
  ): Promise<readonly (Assigned | Problem)[]> {
    const answers = requests.map((_, at): Assigned | Problem => before[at] ?? unasked)
    for (const { signer } of members) {
      const open = answers.flatMap((answer, at) => (isElsewhere(answer) ? [at] : []))
      if (open.length === 0) break
      const asked = await askOne(
        signer,
        open.map((at) => requests[at] as SigningRequest),
      )
      for (const [n, at] of open.entries())
        answers[at] = better(answers[at] as Assigned | Problem, asked[n] as Assigned | Problem)
      if (asked.some((answer) => !('error' in answer))) this.#prefer(signer)
    }
    return answers
  }

  #prefer(signer: SupervisedSigner): void {
    if (this.#members[0]?.signer === signer) return
    const first = this.#members.filter((member) => member.signer === signer)
    this.#members = [...first, ...this.#members.filter((member) => member.signer !== signer)]
  }
}

/** Stands where nobody has been asked yet; whatever anybody says is better. */
const unasked: Problem = {
  error: { code: 'no_active_key', message: 'the realm has no signer', retryable: false },
}

/** What another signer of the realm may be able to do. */
const elsewhere: ReadonlySet<string> = new Set(['no_active_key', 'key_out_of_scope', 'issuer_mismatch'])

function isElsewhere(answer: Assigned | Problem): boolean {
  return 'error' in answer && (elsewhere.has(answer.error.code) || answer.error.retryable)
}

/** Of two problems the one that says more: a signer that is away may hold the key that the other does not. */
function better(one: Assigned | Problem, other: Assigned | Problem): Assigned | Problem {
  if (!('error' in other)) return other
  if (!('error' in one) || one.error.retryable) return one
  return other.error.retryable || one.error.code === 'no_active_key' ? other : one
}

async function askOne(
  signer: SupervisedSigner,
  requests: readonly SigningRequest[],
): Promise<readonly (Assigned | Problem)[]> {
  try {
    const prepared = await signer.ask((process) => process.prepare(requests))
    return prepared.map((answer) => ('error' in answer ? answer : { ...answer, signer }))
  } catch (error) {
    return requests.map(() => problemOf(error))
  }
}

async function sign(
  receipted: readonly { readonly assigned: Assigned; readonly receipt: string }[],
): Promise<readonly (SignedAnswer | Problem)[]> {
  const signed = new Map<object, SignedAnswer | Problem>()
  await Promise.all(
    Map.groupBy(receipted, ({ assigned }) => assigned.signer)
      .entries()
      .map(async ([signer, ofSigner]) => {
        const requests = ofSigner.map(({ assigned: { id }, receipt }) => ({ id, receipt }))
        const answers = await signer
          .ask((process) => process.sign(requests))
          .catch((error) => requests.map(() => problemOf(error)))
        for (const [at, each] of ofSigner.entries()) signed.set(each, answers[at] as SignedAnswer | Problem)
      }),
  )
  return receipted.map((each) => signed.get(each) as SignedAnswer | Problem)
}

function problemOf(error: unknown): Problem {
  if (!(error instanceof LineError)) throw error
  const { code, message, retryable } = error
  return { error: { code, message, retryable } }
}

async function anyReady(members: readonly Member[], milliseconds: number): Promise<void> {
  try {
    await Promise.any(members.map(({ signer }) => signer.ready(milliseconds)))
  } catch (error) {
    throw (
      (error as AggregateError).errors[0] ?? new LineError('signer_unavailable', 'the realm has no signer')
    )
  }
}
