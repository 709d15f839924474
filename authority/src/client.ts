/**
 * How the others speak to the authority: commands, acknowledgements, enrolment. Manifests are followed with
 * `followManifest` of the validator.
 * @module
 */

import { type KeyObject, randomBytes } from 'node:crypto'
import type { DocumentSignature, SignedDocument } from '@countersign/validator/document'
import type { JsonObject } from '@countersign/validator/json'
import type { PublicJwk } from '@countersign/validator/jws'
import { signStatement } from '@countersign/validator/statement'
import type { Probe, Proof } from './canary.ts'
import { COMMAND_TYPE, type CommandClaims } from './command.ts'
import type { DenialCode } from './denial.ts'

export type { CanaryResult, Probe, Proof } from './canary.ts'
export { describeProposal, type InForce } from './changes.ts'
export { namesOf, type Operation } from './command.ts'

/** A command as it is given; when and under which name it is sent is added when it is signed. */
export type Command = Omit<CommandClaims, 'iat' | 'jti'>

/** Who gives a command: an operator or, for `block`, a block key of the charter. Ed25519. */
export interface Author {
  /** Thumbprint of the key. */
  readonly kid: string
  readonly privateKey: KeyObject
}

/** What a command came to. */
export interface CommandAnswer {
  /** The manifest that carries it. */
  readonly version: number
  /** False when there was nothing left to do: the key was blocked before, say. */
  readonly changed: boolean
}

/** How far a validator has come; null until it first acknowledges. */
export interface ValidatorProgress {
  readonly name: string
  readonly version: number | null
  /** Seconds since the epoch, with milliseconds. */
  readonly acknowledged_at: number | null
  /** Whether it holds a stream open at this moment: for display, since only the signed acknowledgement counts. */
  readonly connected: boolean
}

/** Who is enrolled, and with which key (Ed25519). */
export interface Enrolled {
  readonly name: string
  readonly jwk: PublicJwk
}

export interface Acks {
  /** Of the newest manifest. */
  readonly version: number
  readonly validators: readonly ValidatorProgress[]
  /** The enrolled validators that have not acknowledged this version. */
  readonly silent: readonly string[]
}

/** How far a slot (a realm's issuer, and what its keys are for) is with its next key. */
export interface RotationStep {
  readonly realm: string
  readonly issuer: string
  readonly purpose: 'token' | 'set'
  /** The key that signs; null while none does. */
  readonly active: string | null
  /** The key that stands by. */
  readonly next: string | null
  /** When the active key has had its turn: seconds since the epoch. */
  readonly due_at: number | null
  /** Validators that have not acknowledged the next key, and for which it waits. */
  readonly waits_for: readonly string[]
  /** Those that have been silent for so long that it does not wait for them any more. */
  readonly overdue: readonly string[]
  /** Age of the active key as a part of what its charter allows. */
  readonly age_ratio: number | null
}

export interface Rotation {
  /** Whether this authority is the one that rotates. */
  readonly leader: boolean
  readonly slots: readonly RotationStep[]
}

/** Something that several people have to want; `changes` is to be computed anew by whoever decides. */
export interface Proposal {
  /** Names the content: the first 22 characters of the base64url SHA-256 of `segment`. */
  readonly id: string
  readonly kind: 'charter' | 'approval'
  readonly state: 'open' | 'expired' | 'outdated' | 'carried_out'
  readonly payload: JsonObject
  /** What is signed. */
  readonly segment: string
  /** Of a charter: the payload of the one before. */
  readonly base?: JsonObject
  readonly changes: readonly string[]
  /** Operators; who proposed it comes first. */
  readonly approved_by: readonly string[]
  readonly needed: number
  /** Seconds since the epoch. */
  readonly expires_at: number
}

/** How far a proposal has come. */
export interface ApprovalAnswer {
  readonly approved_by: readonly string[]
  readonly needed: number
  /** The manifest that carries it out, once enough have approved. */
  readonly version?: number
}

export interface ProposalAnswer extends ApprovalAnswer {
  readonly id: string
  readonly expires_at: number
}

/** Something that was done. */
export interface ActRecord {
  /** The newest manifest then: the one that carries it, if it made a difference. */
  readonly version: number
  /** Seconds since the epoch. */
  readonly at: number
  /** An operation of a command or an approval, or `charter`. */
  readonly op: string
  /** Operators; who proposed it comes first. */
  readonly by: readonly string[]
  readonly reason: string
  /** An issuer that is not ours. */
  readonly iss?: string
  readonly realm?: string
  readonly kid?: string
  readonly kids?: readonly string[]
  readonly tenant?: string
  readonly sub?: string
  readonly name?: string
  readonly before?: number
  readonly until?: number
  readonly charter_version?: number
  /** What was signed: a compact JWS, or a document. */
  readonly proof: string | SignedDocument
}

/** The authority turned a request down, or did not answer (`unreachable`). */
export class AuthorityError extends Error {
  readonly code: DenialCode | 'unreachable' | 'invalid_answer'
  readonly retryable: boolean
  constructor(code: AuthorityError['code'], message: string, retryable: boolean) {
    super(message)
    this.name = 'AuthorityError'
    this.code = code
    this.retryable = retryable
  }
}

/** Gives a command and waits until the manifest that carries it is published. Throws `AuthorityError`. */
export async function sendCommand(
  authority: string,
  command: Command,
  author: Author,
): Promise<CommandAnswer> {
  return request(new URL('commands', withSlash(authority)), {
    method: 'POST',
    headers: { 'content-type': 'application/jwt' },
    body: signCommand(command, author, Date.now() / 1000),
  })
}

/** The compact JWS that a command is sent as. */
export function signCommand(command: Command, { privateKey }: Author, now: number): string {
  const claims: CommandClaims = {
    ...command,
    iat: Math.floor(now),
    jti: randomBytes(16).toString('base64url'),
  }
  return signStatement(COMMAND_TYPE, claims, privateKey)
}

/**
 * Who has acknowledged the newest manifest, and who is silent. With `patience` the answer comes when every validator that is
 * connected has acknowledged that version, or the time is up.
 */
export async function fetchAcks(
  authority: string,
  patience?: { readonly version: number; readonly milliseconds: number },
): Promise<Acks> {
  const url = new URL('acks', withSlash(authority))
  if (patience !== undefined) {
    url.searchParams.set('version', String(patience.version))
    url.searchParams.set('wait', String(Math.ceil(patience.milliseconds)))
  }
  return request(url, {})
}

/** How far each slot is with its next key. */
export async function fetchRotation(authority: string): Promise<Rotation> {
  return request(new URL('rotation', withSlash(authority)), {})
}

/** Whose reports and acknowledgements count. */
export async function fetchValidators(authority: string): Promise<readonly Enrolled[]> {
  const { validators } = await request<{ validators: Enrolled[] }>(
    new URL('validators', withSlash(authority)),
    {},
  )
  return validators
}

/** Proposes a charter or an approval that at least one operator has signed. Throws `AuthorityError`. */
export async function sendProposal(authority: string, document: SignedDocument): Promise<ProposalAnswer> {
  return request(new URL('proposals', withSlash(authority)), json(document))
}

/** Adds an operator's signature to a proposal. Throws `AuthorityError`. */
export async function sendApproval(
  authority: string,
  id: string,
  line: DocumentSignature,
): Promise<ApprovalAnswer> {
  return request(new URL(`proposals/${encodeURIComponent(id)}/approvals`, withSlash(authority)), json(line))
}

/** The proposals that wait for approvals, the newest first. */
export async function fetchProposals(authority: string): Promise<readonly Proposal[]> {
  const { proposals } = await request<{ proposals: Proposal[] }>(
    new URL('proposals', withSlash(authority)),
    {},
  )
  return proposals
}

/** A proposal, open or not. Its text is the authority's word; `describeProposal` computes it anew. */
export async function fetchProposal(authority: string, id: string): Promise<Proposal> {
  return request(new URL(`proposals/${encodeURIComponent(id)}`, withSlash(authority)), {})
}

/** What was done, the newest first, under manifests below `before`. */
export async function fetchActs(authority: string, before?: number): Promise<readonly ActRecord[]> {
  const url = new URL('acts', withSlash(authority))
  if (before !== undefined) url.searchParams.set('before', String(before))
  const { acts } = await request<{ acts: ActRecord[] }>(url, {})
  return acts
}

function json(body: object): RequestInit {
  return { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }
}

/** What came of the canaries of the last kills, the newest first. */
export async function fetchProofs(authority: string): Promise<readonly Proof[]> {
  const { proofs } = await request<{ proofs: Proof[] }>(new URL('canaries', withSlash(authority)), {})
  return proofs
}

/**
 * Makes a validator known under its name, and where a canary is to be sent after a kill. Enrolling again with the same
 * key changes nothing but that.
 */
export async function enrol(
  authority: string,
  token: string,
  name: string,
  jwk: PublicJwk,
  probe?: Probe,
): Promise<void> {
  await request(new URL('validators', withSlash(authority)), {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
    body: JSON.stringify({ name, jwk, probe }),
  })
}

const ANSWER_MILLISECONDS_MAX = 15_000

async function request<Answer>(url: URL, init: RequestInit): Promise<Answer> {
  const [status, text] = await exchange(url, init)
  // A proxy whose authority is away says it in words of its own.
  const isRetryable = status >= 500 || status === 429
  const answer = parse(text, isRetryable)
  if (status < 300) return answer as Answer
  const { error, error_description: description } = (answer ?? {}) as {
    error?: DenialCode
    error_description?: string
  }
  throw new AuthorityError(error ?? 'invalid_answer', description ?? `status ${status}`, isRetryable)
}

async function exchange(url: URL, init: RequestInit): Promise<[status: number, text: string]> {
  try {
    const signal = AbortSignal.timeout(ANSWER_MILLISECONDS_MAX)
    const response = await fetch(url, { ...init, redirect: 'error', signal })
    return [response.status, await response.text()]
  } catch {
    throw new AuthorityError('unreachable', `the authority at ${url.origin} does not answer`, true)
  }
}

function parse(text: string, isRetryable: boolean): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new AuthorityError(
      'invalid_answer',
      'the authority answered something that is not JSON',
      isRetryable,
    )
  }
}

function withSlash(url: string): string {
  return url.endsWith('/') ? url : `${url}/`
}
