/**
 * Attacks on what validators believe, and the race to make them stop: retire, block, roll back.
 * @module
 */

import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connectCrowd, waitForAcknowledgements } from '@countersign/cli/client'
import { createValidator, type Validator } from '@countersign/validator'
import { type DocumentFlaw, DocumentRefusal } from '@countersign/validator/document'
import { type Follower, type FollowOptions, followManifest } from '@countersign/validator/follow'
import type { Arena } from '../arena.ts'
import { forge } from '../forge.ts'
import { type Step, showToken } from './step.ts'

/** Connected in the drill's own process, each with its own stream and its own acknowledgements. */
const VALIDATORS = 100
const PATIENCE_MILLISECONDS = 5000

export const retiredKey: Step = {
  title: 'a retired key, and a validator that is kept from the news',
  flaws: ['F4', 'F12'],
  expectation: 'refused key_retired; whoever is cut off for a minute refuses everything: manifest_stale',
  play: async (arena) => {
    await arena.stealFreshKey('consumer')
    const genuine = await arena.genuineToken('consumer')
    const remembered = arena.follower.state
    await arena.waitFor(() => arena.keyInState('consumer', 'published') !== undefined)
    await arena.naive.refresh()
    const key = await arena.steal('consumer', arena.keyInState('consumer', 'published') ?? '')
    await arena.command({ op: 'retire', kid: key.kid, reason: 'drill' })
    // The key set that the realm serves has dropped it; the cache of 2023 has not.
    await arena.naive.refresh()
    const played = await showToken(
      arena,
      await forge({ key, claims: arena.victim('consumer') }),
      'key_retired',
    )
    const cutOff = reasonOf(validatorOf(arena, { state: remembered, ageSeconds: () => 61 }), genuine)
    return {
      ...played,
      held: played.held && cutOff === 'manifest_stale',
      reason: `${played.reason}, ${cutOff}`,
    }
  },
}

export const blockByHand: Step = {
  title: `one operator blocks a key at ${VALIDATORS} connected validators`,
  flaws: ['F4', 'F12', 'F13'],
  expectation: 'all acknowledge, and all refuse key_blocked',
  play: async (arena) => {
    const key = await arena.stealFreshKey('enterprise')
    const token = await arena.genuineToken('enterprise')
    const prefix = `drill-${randomUUID()}`
    const crowd = await connectCrowd(arena.ready.authority, VALIDATORS, prefix)
    try {
      const validators = crowd.map((follower) => validatorOf(arena, follower))
      const accepted = validators.every((validator) => validator.decide(token).accepted)
      const { milliseconds, silent } = await arena.command({ op: 'block', kid: key.kid, reason: 'drill' })
      const reasons = validators.map((validator) => reasonOf(validator, token))
      return {
        naiveAccepted: (await arena.naive.accept(token)) !== undefined,
        held: accepted && silent.length === 0 && reasons.every((reason) => reason === 'key_blocked'),
        outcome: `${reasons.filter((reason) => reason === 'key_blocked').length} of ${VALIDATORS} refuse`,
        reason: reasons[0],
        figures: { 'milliseconds to the last acknowledgement': Math.round(milliseconds) },
      }
    } finally {
      await Promise.all(crowd.map((follower) => follower.stop()))
      await arena.removeValidators(prefix)
    }
  },
}

export const blockByItself: Step = {
  title: 'the same without a person: the first use of a forged token',
  flaws: ['F9', 'F10'],
  expectation: 'alert, automatic block, acknowledged by all',
  play: async (arena) => {
    const key = await arena.stealFreshKey('enterprise')
    const token = await forge({ key, claims: arena.victim('enterprise') })
    const naiveAccepted = (await arena.naive.accept(token)) !== undefined
    const startedAt = performance.now()
    const sinceUse = (): number => Math.round(performance.now() - startedAt)
    const blocked = arena
      .waitFor((state) => state?.manifest.keys.get(key.kid)?.state === 'blocked')
      .then(() =>
        waitForAcknowledgements(arena.ready.authority.url, arena.follower.state?.manifest.version ?? 0),
      )
      .then(sinceUse)
    await arena.ask(token)
    const alert = await arena.waitForAlert(key.kid)
    const alertMilliseconds = sinceUse()
    const blockMilliseconds = await blocked
    const after = await arena.ask(token)
    return {
      naiveAccepted,
      held: after.reason === 'key_blocked',
      outcome: `alert ${alert.rule}, blocked:`,
      reason: after.reason,
      figures: {
        'milliseconds from first use to alert': alertMilliseconds,
        'milliseconds from first use to block acknowledged by all': blockMilliseconds,
      },
    }
  },
}

export const rollback: Step = {
  title: 'a validator restarts and is handed the manifest from before the block',
  flaws: ['F12'],
  expectation: 'the older version is refused, also after the restart',
  play: async (arena) => {
    const key = await arena.stealFreshKey('enterprise')
    const token = await arena.genuineToken('enterprise')
    const old = await recordAnswers(arena)
    const folder = await mkdtemp(join(tmpdir(), 'countersign-drill-state-'))
    const stateFile = join(folder, 'manifest.json')
    try {
      const { version } = await arena.command({ op: 'block', kid: key.kid, reason: 'drill' })
      const trustAnchor = await readAnchor(arena)
      const first = followManifest({ authority: arena.ready.authority.url, trustAnchor, stateFile })
      await first.waitForVersion(version, PATIENCE_MILLISECONDS)
      await first.stop()
      const flaw = await restartAgainst(old, { trustAnchor, stateFile }, async (second) => {
        if (second.state?.manifest.version !== version) throw new Error('the restart lost the newest version')
        return reasonOf(validatorOf(arena, second), token)
      })
      return {
        naiveAccepted: (await arena.naive.accept(token)) !== undefined,
        held: flaw.document === 'rolled_back' && flaw.token === 'key_blocked',
        outcome: `manifest refused ${flaw.document}, token`,
        reason: flaw.token,
      }
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  },
}

function validatorOf(
  arena: Arena,
  trust: Follower | { state: Follower['state']; ageSeconds: () => number },
): Validator {
  return createValidator({ realm: ['consumer', 'enterprise'], audience: arena.ready.gateway.audience, trust })
}

function reasonOf(validator: Validator, token: string): string | undefined {
  const decision = validator.decide(token)
  return decision.accepted ? undefined : decision.refusal.reason
}

async function readAnchor(arena: Arena): Promise<never> {
  return JSON.parse(await readFile(arena.ready.authority.trust_anchor, 'utf8')) as never
}

type Recorded = ReadonlyMap<string, string>

/** What the authority answers now, kept by somebody on the way for later. */
async function recordAnswers(arena: Arena): Promise<Recorded> {
  const paths = ['/manifest', '/charter', '/charter/1', '/trust-anchor']
  const answers = paths.map(async (path): Promise<[string, string]> => {
    const response = await fetch(new URL(path, arena.ready.authority.url))
    return [path, await response.text()]
  })
  return new Map(await Promise.all(answers))
}

/** Starts a follower on what an earlier one remembered, against somebody who plays the authority of before. */
async function restartAgainst(
  recorded: Recorded,
  remembered: Pick<FollowOptions, 'trustAnchor' | 'stateFile'>,
  decide: (follower: Follower) => Promise<string | undefined>,
): Promise<{ document: DocumentFlaw; token: string | undefined }> {
  const server = createServer((request, response) => {
    const body = recorded.get(request.url ?? '')
    response.writeHead(body === undefined ? 404 : 200, { 'content-type': 'application/json' }).end(body)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const authority = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const refused = Promise.withResolvers<DocumentFlaw>()
  const late = setTimeout(() => refused.reject(new Error('nothing was refused')), PATIENCE_MILLISECONDS)
  const follower = followManifest({
    authority,
    ...remembered,
    onProblem: (problem) => problem instanceof DocumentRefusal && refused.resolve(problem.flaw),
  })
  try {
    const document = await refused.promise
    return { document, token: await decide(follower) }
  } finally {
    clearTimeout(late)
    await follower.stop()
    server.close()
  }
}
