/**
 * How the others speak to the authority: commands, acknowledgements, enrolment. Manifests are followed with
 * `followManifest` of the validator.
 * @module
 */

import { type KeyObject, randomBytes } from 'node:crypto'
import type { PublicJwk } from '@countersign/validator/jws'
import { signStatement } from '@countersign/validator/statement'
import { COMMAND_TYPE, type CommandClaims } from './command.ts'
import type { DenialCode } from './denial.ts'

export type { Operation } from './command.ts'

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

/** Who has acknowledged the newest manifest, and who is silent. */
export async function fetchAcks(authority: string): Promise<Acks> {
  return request(new URL('acks', withSlash(authority)), {})
}

/** Whose reports and acknowledgements count. */
export async function fetchValidators(authority: string): Promise<readonly Enrolled[]> {
  const { validators } = await request<{ validators: Enrolled[] }>(
    new URL('validators', withSlash(authority)),
    {},
  )
  return validators
}

/** Makes a validator known under its name. Enrolling again with the same key changes nothing. */
export async function enrol(authority: string, token: string, name: string, jwk: PublicJwk): Promise<void> {
  await request(new URL('validators', withSlash(authority)), {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
    body: JSON.stringify({ name, jwk }),
  })
}

const ANSWER_MILLISECONDS_MAX = 15_000

async function request<Answer>(url: URL, init: RequestInit): Promise<Answer> {
  const [status, text] = await exchange(url, init)
  const answer = parse(text)
  if (status < 300) return answer as Answer
  const { error, error_description: description } = answer as {
    error?: DenialCode
    error_description?: string
  }
  throw new AuthorityError(error ?? 'invalid_answer', description ?? `status ${status}`, status >= 500)
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

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new AuthorityError('invalid_answer', 'the authority answered something that is not JSON', false)
  }
}

function withSlash(url: string): string {
  return url.endsWith('/') ? url : `${url}/`
}
