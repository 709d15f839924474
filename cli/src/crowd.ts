/**
 * Many validators in one process, each enrolled and connected on its own, to see how fast a kill reaches them all.
 * @module
 */

import { generateKeyPairSync, randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { enrol } from '@countersign/authority/client'
import { publicHalf } from '@countersign/validator/document'
import { type Follower, followManifest } from '@countersign/validator/follow'
import { readJson } from './files.ts'
import type { System } from './ready.ts'

/**
 * Enrols and connects `count` followers, under names that begin with `prefix`; settles when each has its first manifest.
 */
export async function connectCrowd(
  authority: System['authority'],
  count: number,
  prefix = 'crowd',
): Promise<Follower[]> {
  const { url, trust_anchor, enrolment_token } = authority
  const token = readFileSync(enrolment_token, 'utf8').trim()
  const members = Array.from({ length: count }, async () => {
    const { privateKey } = generateKeyPairSync('ed25519')
    const name = `${prefix}-${randomUUID()}`
    await enrol(url, token, name, publicHalf(privateKey).jwk)
    const enrolment = { name, privateKey }
    const follower = followManifest({ authority: url, trustAnchor: readJson(trust_anchor), enrolment })
    await follower.ready()
    return follower
  })
  return Promise.all(members)
}
