/**
 * The enrolled validators and how far each has come. A validator counts as having applied a manifest when it has said
 * so with its own key; an open stream shows that it listens, not that it acts.
 * @module
 */

import { isDeepStrictEqual } from 'node:util'
import { verifyAcknowledgement } from '@countersign/validator/acknowledgement'
import { readKeyMembers } from '@countersign/validator/charter'
import { DocumentRefusal, importOnce } from '@countersign/validator/document'
import type { JsonObject } from '@countersign/validator/json'
import type { PublicJwk } from '@countersign/validator/jws'
import type { Manifest } from '@countersign/validator/manifest'
import { Members } from '@countersign/validator/members'
import type { Probe } from './canary.ts'
import type { Acks, Enrolled } from './client.ts'
import { Denial } from './denial.ts'
import { type Hearing, hearingOf } from './rotation.ts'
import type { Acknowledged, EnrolledValidator, FirstNamed, Store } from './store.ts'

export interface Registry {
  /** Enrols a validator: `{name, jwk, probe?}`. Throws `Denial` when the name is taken by another key. */
  enrol(request: JsonObject): Promise<void>
  /** Takes an acknowledgement, a compact JWS. `sha256Of` gives the hash of a version. Throws `Denial`. */
  acknowledge(statement: string, sha256Of: (version: number) => string | undefined): void
  /** Who has acknowledged `version`, and who is silent; `connected` are the names with an open stream. */
  progress(version: number, connected: ReadonlySet<string>): Acks
  /** Who has not acknowledged any manifest that names the key; undefined while none does. */
  hearing(kid: string, acknowledgeSeconds: number): Hearing | undefined
  enrolled(): readonly Enrolled[]
  /** Where canaries are sent. */
  probes(): readonly (Probe & { readonly name: string })[]
  /** Whether it has acknowledged that version or a later one. */
  hasApplied(name: string, version: number): boolean
  isEnrolled(name: string): boolean
  /** Stops to wait for a validator, once the store has it no longer. */
  forget(name: string): void
  /** Remembers when the keys of a manifest were named first. */
  note(manifest: Manifest): void
  /** Learns what another process has written down: enrolments, and acknowledgements that came to it. */
  follow(): Promise<void>
  /** Writes down what is not yet written. */
  close(): Promise<void>
}

/** An acknowledgement signed longer ago may come from whoever recorded it. */
const AGE_SECONDS_MAX = 60

/** Acknowledgements of one version arrive together; one transaction writes those of this long. */
const WRITE_MILLISECONDS = 100
/** Before a store that did not take them is asked again. */
const REWRITE_MILLISECONDS = 1000

export async function openRegistry(
  store: Store,
  now: () => number,
  onFault: (error: Error) => void,
): Promise<Registry> {
  const validators = new Map((await store.validators()).map((validator) => [validator.name, validator]))
  const firstNamed = new Map<string, FirstNamed>(await store.firstNamed())
  const unwritten = new Map<string, Acknowledged>()
  /** Known here, and not yet to the store. */
  const enrolling = new Map<string, Promise<void>>()
  let timer: NodeJS.Timeout | undefined

  async function write(): Promise<void> {
    clearTimeout(timer)
    timer = undefined
    const acknowledged = [...unwritten.values()]
    unwritten.clear()
    try {
      if (acknowledged.length > 0) await store.acknowledge(acknowledged)
    } catch (error) {
      // Each validator says it once.
      for (const each of acknowledged) if (!unwritten.has(each.name)) unwritten.set(each.name, each)
      throw error
    }
  }

  function forget(name: string): void {
    validators.delete(name)
    unwritten.delete(name)
  }

  function writeAfter(milliseconds: number): void {
    timer ??= setTimeout(() => {
      write().catch((error: Error) => {
        onFault(error)
        writeAfter(REWRITE_MILLISECONDS)
      })
    }, milliseconds).unref()
  }

  /** In memory first, so that of two at once under one name the second already meets the first. */
  async function add(enrolled: EnrolledValidator): Promise<void> {
    const { name, jwk } = enrolled
    validators.set(name, { ...enrolled, probe: null })
    try {
      await store.addValidator(name, jwk, now())
    } catch (error) {
      validators.delete(name)
      throw error
    } finally {
      enrolling.delete(name)
    }
  }

  return {
    enrol: async (request) => {
      const enrolled = readEnrolment(request, now())
      const { name, jwk, probe } = enrolled
      const known = validators.get(name)
      if (known === undefined) enrolling.set(name, add(enrolled))
      else if (importOnce(known.jwk).kid !== importOnce(jwk).kid) throw new Denial('validator_exists')
      await enrolling.get(name)
      if (probe === null || isSame(probe, known?.probe)) return
      await store.setProbe(name, probe)
      const added = validators.get(name)
      if (added !== undefined) validators.set(name, { ...added, probe })
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
      writeAfter(WRITE_MILLISECONDS)
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
    hearing: (kid, acknowledgeSeconds) => {
      const first = firstNamed.get(kid)
      return first && hearingOf(first, [...validators.values()], acknowledgeSeconds, now())
    },
    note: ({ version, issuedAt, keys }) => {
      for (const kid of keys.keys()) {
        if (!firstNamed.has(kid)) firstNamed.set(kid, { version, at: Math.max(issuedAt, now()) })
      }
    },
    follow: async () => {
      // Asked before the store is: what is written while it answers may not be in the answer.
      const written = [...validators.keys()].filter((name) => !enrolling.has(name))
      const all = await store.validators()
      const keys = new Map(all.map(({ name, jwk }) => [name, jwk]))
      // Removed by another process, and perhaps enrolled anew: what the one before said no longer counts.
      for (const name of written) {
        if (!isDeepStrictEqual(validators.get(name)?.jwk, keys.get(name))) forget(name)
      }
      for (const stored of all) {
        const known = validators.get(stored.name)
        // What came here last may not be written yet.
        if (known === undefined || (stored.version ?? 0) > (known.version ?? 0)) {
          validators.set(stored.name, stored)
        } else if (!isSame(stored.probe, known.probe)) {
          validators.set(stored.name, { ...known, probe: stored.probe })
        }
      }
    },
    enrolled: () => [...validators.values()].map(({ name, jwk }) => ({ name, jwk })),
    probes: () =>
      [...validators.values()].flatMap(({ name, probe }) => (probe === null ? [] : [{ name, ...probe }])),
    isEnrolled: (name) => validators.has(name),
    hasApplied: (name, version) => (validators.get(name)?.version ?? 0) >= version,
    forget,
    close: write,
  }
}

function readEnrolment(request: JsonObject, now: number): EnrolledValidator {
  try {
    const members = new Members(request, 'enrolment')
    const name = members.text('name', /^[^\p{C}]{1,128}$/u)
    const jwk = readKey(members.object('jwk'))
    const probe = members.has('probe') ? readProbe(members.object('probe')) : null
    members.end()
    return { name, jwk, enrolledAt: now, version: null, acknowledgedAt: null, probe }
  } catch (error) {
    if (!(error instanceof DocumentRefusal)) throw error
    throw new Denial('enrolment_malformed', error.message)
  }
}

function readProbe(members: Members): Probe {
  const probe = { url: members.text('url'), audience: members.text('audience') }
  members.end()
  const { protocol, username, password } = URL.canParse(probe.url) ? new URL(probe.url) : new URL('none:')
  if (['http:', 'https:'].includes(protocol) && username === '' && password === '') return probe
  throw new Denial('enrolment_malformed', 'a probe is an HTTP address without credentials')
}

function isSame(a: Probe | null, b: Probe | null | undefined): boolean {
  return a?.url === b?.url && a?.audience === b?.audience
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
