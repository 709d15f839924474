/**
 * How long a key lives on after an operator blocked it: until the last of the connected validators has acknowledged
 * the manifest that says so, each with a stream and a signed acknowledgement of its own.
 * @module
 */

import { createPrivateKey, generateKeyPairSync, type JsonWebKeyInput } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { type Command, enrol, fetchAcks, sendCommand } from '@countersign/authority/client'
import type { System } from '@countersign/cli/client'
import type { TrustAnchor } from '@countersign/validator/charter'
import { publicHalf } from '@countersign/validator/document'
import { type Follower, followManifest } from '@countersign/validator/follow'
import type { Row } from './table.ts'

const VALIDATORS = 100
const KILLS = 25
const POLL_MILLISECONDS = 5

export async function measureKill({ authority }: System): Promise<Row[]> {
  const followers = await connectValidators(authority)
  const [first] = followers
  const milliseconds: number[] = []
  try {
    for (let kill = 0; kill < KILLS; kill++) {
      await acknowledged(
        authority,
        await command(authority, { op: 'rotate', realm: 'consumer', reason: 'bench' }),
      )
      const kid = activeKey(first)
      const startedAt = performance.now()
      await acknowledged(authority, await command(authority, { op: 'block', kid, reason: 'bench' }))
      milliseconds.push(performance.now() - startedAt)
    }
  } finally {
    await Promise.all(followers.map((follower) => follower.stop()))
  }
  milliseconds.sort((a, b) => a - b)
  const at = (share: number): string => `${Math.round(milliseconds[Math.ceil(share * KILLS) - 1] ?? 0)} ms`
  return [
    { label: `last of ${VALIDATORS} validators, median`, value: at(0.5) },
    { label: `p99 of ${KILLS} kills`, value: at(0.99) },
  ]
}

/** The key that the realm signs with, as a follower knows it. */
export function activeKey(follower: Follower | undefined, realm = 'consumer'): string {
  const keys = [...(follower?.state?.manifest.keys.values() ?? [])]
  const key = keys.find((candidate) => candidate.realm === realm && candidate.state === 'active')
  if (key === undefined) throw new Error(`${realm} has no active key`)
  return key.kid
}

export async function followOnce({ authority }: System): Promise<Follower> {
  const follower = followManifest({ authority: authority.url, trustAnchor: readAnchor(authority) })
  await follower.ready()
  return follower
}

async function connectValidators(authority: System['authority']): Promise<Follower[]> {
  const token = readFileSync(authority.enrolment_token, 'utf8').trim()
  return Promise.all(
    Array.from({ length: VALIDATORS }, async (_, index) => {
      const { privateKey } = generateKeyPairSync('ed25519')
      const name = `bench-${process.pid}-${index}`
      await enrol(authority.url, token, name, publicHalf(privateKey).jwk)
      const trustAnchor = readAnchor(authority)
      const follower = followManifest({
        authority: authority.url,
        trustAnchor,
        enrolment: { name, privateKey },
      })
      await follower.ready()
      return follower
    }),
  )
}

async function command(authority: System['authority'], order: Command): Promise<number> {
  const key = JSON.parse(
    readFileSync(authority.operators[0]?.key_file ?? '', 'utf8'),
  ) as JsonWebKeyInput['key']
  const privateKey = createPrivateKey({ key, format: 'jwk' })
  const { version } = await sendCommand(authority.url, order, { kid: publicHalf(privateKey).kid, privateKey })
  return version
}

async function acknowledged(authority: System['authority'], version: number): Promise<void> {
  for (;;) {
    const { validators } = await fetchAcks(authority.url)
    if (validators.every((validator) => !validator.connected || (validator.version ?? 0) >= version)) return
    await new Promise((resolve) => setTimeout(resolve, POLL_MILLISECONDS))
  }
}

function readAnchor(authority: System['authority']): TrustAnchor {
  return JSON.parse(readFileSync(authority.trust_anchor, 'utf8')) as TrustAnchor
}
