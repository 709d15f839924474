/**
 * The enrolled validators and how far each has come. A validator counts as having applied a manifest when it has said
 * so with its own key; an open stream shows that it listens, not that it acts.
 * @module
 */

import { verifyAcknowledgement } from '@countersign/validator/acknowledgement'
import { readKeyMembers } from '@countersign/validator/charter'
import { DocumentRefusal, importOnce } from '@countersign/validator/document'
import type { JsonObject } from '@countersign/validator/json'
import type { PublicJwk } from '@countersign/validator/jws'
import { Members } from '@countersign/validator/members'
import type { Acks, Enrolled } from './client.ts'
import { Denial } from './denial.ts'
import type { Acknowledged, EnrolledValidator, Store } from './store.ts'

export interface Registry {
  /** Enrols a validator: `{name, jwk}`. Throws `Denial` when the name is taken by another key. */
  enrol(request: JsonObject): Promise<void>
  /** Takes an acknowledgement, a compact JWS. `sha256Of` gives the hash of a version. Throws `Denial`. */
  acknowledge(statement: string, sha256Of: (version: number) => string | undefined): void
  /** Who has acknowledged `version`, and who is silent; `connected` are the names with an open stream. */
  progress(version: number, connected: ReadonlySet<string>): Acks
  enrolled(): readonly Enrolled[]
  /** Writes down what is not yet written. */
  close(): Promise<void>
}

/** An acknowledgement signed longer ago may come from whoever recorded it. */
const AGE_SECONDS_MAX = 60

/** Acknowledgements of one version arrive together; one transaction writes those of this long. */
const WRITE_MILLISECONDS = 100

export async function openRegistry(
  store: Store,
  now: () => number,
  onFault: (error: Error) => void,
): Promise<Registry> {
  const validators = new Map((await store.validators()).map((validator) => [validator.name, validator]))
  const unwritten = new Map<string, Acknowledged>()
  let timer: NodeJS.Timeout | undefined

  async function write(): Promise<void> {
    clearTimeout(timer)
    timer = undefined
    const acknowledged = [...unwritten.values()]
    unwritten.clear()
    if (acknowledged.length > 0) await store.acknowledge(acknowledged)
  }

  return {
    enrol: async (request) => {
      const enrolled = readEnrolment(request)
      const known = validators.get(enrolled.name)
      if (known === undefined) {
        // In memory first, so that of two at once under one name the second already meets the first.
        validators.set(enrolled.name, enrolled)
        await store.addValidator(enrolled.name, enrolled.jwk, now())
      } else if (importOnce(known.jwk).kid !== importOnce(enrolled.jwk).kid) {
        throw new Denial('validator_exists')
      }
    },
    acknowledge: (statement, sha256Of) => {
      const { validator: name, version, manifestSha256, issuedAt } = verify(statement, validators)
      if (Math.abs(now() - issuedAt) > AGE_SECONDS_MAX) throw new Denial('acknowledgement_stale')
      if (sha256Of(version) !== manifestSha256) throw new Denial('acknowledgement_outdated')
      const validator = validators.get(name) as EnrolledValidator
      // A recorded acknowledgement of an older version must not hide that a newer one was applied.
      if (version < (validator.version ?? 0)) throw new Denial('acknowledgement_outdated')
      if (version === validator.version) return
      const acknowledged = { name, version, acknowledgedAt: now() }
      validators.set(name, { ...validator, ...acknowledged })
      unwritten.set(name, acknowledged)
      timer ??= setTimeout(() => void write().catch(onFault), WRITE_MILLISECONDS)
    },
    progress: (version, connected) => {
      const all = [...validators.values()]
      return {
        version,
        validators: all.map((validator) => ({
          name: validator.name,
          version: validator.version,
          acknowledged_at: validator.acknowledgedAt,
          connected: connected.has(validator.name),
        })),
        silent: all.filter((validator) => (validator.version ?? 0) < version).map(({ name }) => name),
      }
    },
    enrolled: () => [...validators.values()].map(({ name, jwk }) => ({ name, jwk })),
    close: write,
  }
}

function readEnrolment(request: JsonObject): EnrolledValidator {
  try {
    const members = new Members(request, 'enrolment')
    const name = members.text('name', /^[^\p{C}]{1,128}$/u)
    const jwk = readKey(members.object('jwk'))
    members.end()
    return { name, jwk, version: null, acknowledgedAt: null }
  } catch (error) {
    if (!(error instanceof DocumentRefusal)) throw error
    throw new Denial('enrolment_malformed', error.message)
  }
}

function readKey(members: Members): PublicJwk {
  const { jwk, algorithm } = readKeyMembers(members)
  members.end()
  if (algorithm !== 'EdDSA') throw new Denial('enrolment_malformed')
  return jwk
}

function verify(statement: string, validators: ReadonlyMap<string, EnrolledValidator>) {
  try {
    return verifyAcknowledgement(statement, (name) => validators.get(name)?.jwk)
  } catch (error) {
    if (!(error instanceof DocumentRefusal)) throw error
    const isForged = error.flaw === 'signature_invalid'
    throw new Denial(isForged ? 'acknowledgement_invalid' : 'acknowledgement_malformed')
  }
}
