/**
 * What is left to somebody who was let in before a kill: every way on from a token, and how long after the command it is
 * closed.
 * @module
 */

import { fetchProofs } from '@countersign/authority/client'
import { createEventParser } from '@countersign/validator/event-stream'
import { type Answer, type Arena, poll } from '../arena.ts'
import { basic, type SignedIn, signIn } from '../person.ts'
import { accessTokenType, tokenExchange } from './forgeries.ts'
import type { Step } from './step.ts'

/** One way on. */
interface Path {
  readonly name: string
  /** Whether it is open now. */
  readonly isOpen: () => Promise<boolean>
}

export const killedPaths: Step = {
  title: 'whoever was let in before a kill goes on by every other way',
  flaws: ['F3', 'F4', 'F12'],
  expectation:
    'refresh, session, exchanged token, introspection, cookie and stream end; canaries are refused',
  play: async (arena) => {
    const { kid } = await arena.stealFreshKey('consumer')
    const person = await signIn(arena.ready)
    const exchanged = await exchange(arena, person.accessToken)
    const cookie = await openMail(arena, person.accessToken)
    const stream = await openStream(arena, cookie)
    const paths = pathsOf(arena, person, exchanged, cookie)
    const wasOpen = await Promise.all(paths.map(({ isOpen }) => isOpen()))

    const startedAt = performance.now()
    const sinceKill = (): number => Math.round(performance.now() - startedAt)
    const closed = paths.map(async ({ name, isOpen }): Promise<[string, number]> => {
      await poll(async () => !(await isOpen()))
      return [name, sinceKill()]
    })
    const ended = stream.reason.then((): [string, number] => ['open stream', sinceKill()])
    const { version } = await arena.command({ op: 'block', kid, reason: 'drill' })
    const milliseconds = await Promise.all([...closed, ended])
    const canaries = await poll(async () => {
      const proofs = await fetchProofs(arena.ready.authority.url)
      const proof = proofs.find((each) => each.kid === kid && each.version === version)
      return proof?.state === 'done' ? proof.results : undefined
    })
    const reason = await stream.reason
    const slowest = Math.max(...canaries.map((canary) => canary.milliseconds))
    return {
      naiveAccepted: (await arena.naive.accept(person.accessToken)) !== undefined,
      held:
        wasOpen.every((open) => open) &&
        reason === 'key_blocked' &&
        canaries.length > 0 &&
        canaries.every(({ outcome }) => outcome === 'refused'),
      outcome: `${paths.length} ways closed, stream ended`,
      reason,
      figures: Object.fromEntries(
        [...milliseconds, ['canaries at every gateway', slowest] as const].map(([name, after]) => [
          `milliseconds from kill to refusal: ${name}`,
          after,
        ]),
      ),
    }
  },
}

function pathsOf(arena: Arena, person: SignedIn, exchanged: string, cookie: string): Path[] {
  const { realms, webmail } = arena.ready
  const isAccepted = async (answer: Promise<Answer>): Promise<boolean> => (await answer).accepted
  let { refreshToken } = person
  return [
    { name: 'token at the gateway', isOpen: () => isAccepted(arena.ask(person.accessToken)) },
    { name: 'exchanged token', isOpen: () => isAccepted(arena.ask(exchanged)) },
    {
      name: 'refresh token',
      isOpen: async () => {
        const grant = { grant_type: 'refresh_token', refresh_token: refreshToken }
        const { status, body } = await arena.askTokenEndpoint('consumer', person.client, grant)
        // Not a refusal: between the kill and the news of it no key signs, and a client may try again.
        if (status === 503) return true
        refreshToken = String(body['refresh_token'] ?? refreshToken)
        return status === 200
      },
    },
    { name: 'session at the issuer', isOpen: person.isSignedIn },
    {
      name: 'introspection by the issuer',
      isOpen: () => introspect(`${realms.consumer.issuer}/introspect`, arena, exchanged),
    },
    {
      name: 'introspection by the gateway',
      isOpen: () => introspect(`${arena.ready.gateway.url}/introspect`, arena, person.accessToken),
    },
    {
      name: 'session at the webmail',
      isOpen: async () => (await fetch(`${webmail.url}/api/messages`, { headers: { cookie } })).ok,
    },
  ]
}

async function exchange(arena: Arena, token: string): Promise<string> {
  const client = arena.clientFor('consumer', tokenExchange)
  const grant = { grant_type: tokenExchange, subject_token: token, subject_token_type: accessTokenType }
  const { status, body } = await arena.askTokenEndpoint('consumer', client, grant)
  if (status !== 200) throw new Error(`the token was not exchanged: ${String(body['error'])}`)
  return String(body['access_token'])
}

async function introspect(url: string, arena: Arena, token: string): Promise<boolean> {
  const authorization = basic(arena.clientFor('consumer', tokenExchange))
  const body = new URLSearchParams({ token })
  const response = await fetch(url, { method: 'POST', headers: { authorization }, body })
  return ((await response.json()) as { active?: boolean }).active === true
}

async function openMail({ ready: { webmail } }: Arena, token: string): Promise<string> {
  const headers = { authorization: `Bearer ${token}` }
  const response = await fetch(`${webmail.url}/session`, { method: 'POST', headers })
  if (!response.ok) throw new Error(`the webmail opened no session: ${response.status}`)
  return (response.headers.get('set-cookie') ?? '').split(';')[0] ?? ''
}

/** A stream of new mail; `reason` is what it says when it ends. */
async function openStream(
  { ready: { webmail } }: Arena,
  cookie: string,
): Promise<{ reason: Promise<string> }> {
  const response = await fetch(`${webmail.url}/events`, { headers: { cookie } })
  if (!response.ok || response.body === null)
    throw new Error(`the webmail opened no stream: ${response.status}`)
  const parse = createEventParser(EVENT_CHARACTERS_MAX)
  const decoder = new TextDecoder()
  const read = async (body: ReadableStream<Uint8Array>): Promise<string> => {
    for await (const bytes of body)
      for (const { type, data } of parse(decoder.decode(bytes, { stream: true })))
        if (type === 'end') return (JSON.parse(data) as { reason: string }).reason
    throw new Error('the stream broke off without a word')
  }
  return { reason: read(response.body) }
}

const EVENT_CHARACTERS_MAX = 64 * 1024
