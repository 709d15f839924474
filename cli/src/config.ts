/**
 * `countersign up --config FILE`: what somebody wants otherwise than the sample has it. JSON; whatever is left out stays
 * as it was, and a member that is not known here is refused, since it may be a known one misspelt. docs/configuration.md
 * shows all of it.
 * @module
 */

import { readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { seedSchema } from '@countersign/issuer/client'
import { sentinelConfig } from '@countersign/sentinel/client'
import { readConfig } from '@countersign/service/config'
import { CLOCK_DIFFERENCE_SECONDS_MAX } from '@countersign/validator/charter'
import { parseObject } from '@countersign/validator/json'
import { z } from 'zod'
import { completeTerms, sampleTenants } from './world.ts'

const DAY_SECONDS = 24 * 3600
/** An ID token lives that long. */
const TOKEN_SECONDS_MIN = 600

const { policy, webhook } = sentinelConfig.shape
const { clients, people } = seedSchema.shape

/** Secrets may be left out of it: they are made then, and stand in the ready file. */
const realmWishes = z.strictObject({
  tenants: z
    .array(z.strictObject({ id: z.uuid(), name: z.string().min(1) }))
    .min(1)
    .optional(),
  clients: z.array(clients.element.partial({ client_secret: true })).optional(),
  people: z.array(people.element.partial({ password: true })).optional(),
})

export const wishesSchema = z
  .strictObject({
    charter: z
      .strictObject({
        rotation_seconds: z
          .int()
          .min(1)
          .max(90 * DAY_SECONDS),
        key_age_max: z
          .int()
          .min(1)
          .max(365 * DAY_SECONDS),
        max_ttl: z.int().min(TOKEN_SECONDS_MIN).max(DAY_SECONDS),
        overlap_seconds: z
          .int()
          .min(1)
          .max(30 * DAY_SECONDS),
        cache_seconds: z
          .int()
          .min(1)
          .max(30 * DAY_SECONDS),
        acknowledge_seconds: z.int().min(1).max(DAY_SECONDS),
      })
      .partial()
      .superRefine((charter, context) => {
        const terms = completeTerms(charter)
        const complain = (member: keyof typeof terms, message: string): void =>
          context.addIssue({ code: 'custom', message, path: [member] })
        const signedSeconds = terms.rotation_seconds + 2 * terms.cache_seconds
        if (terms.overlap_seconds < terms.max_ttl + CLOCK_DIFFERENCE_SECONDS_MAX)
          complain('overlap_seconds', 'must be at least max_ttl and 60')
        if (2 * terms.cache_seconds > terms.rotation_seconds)
          complain('cache_seconds', 'must be at most half of rotation_seconds')
        if (terms.key_age_max < signedSeconds)
          complain('key_age_max', 'must be at least rotation_seconds and twice cache_seconds')
      })
      .optional(),
    sentinel: policy.partial().extend({ webhook }).optional(),
    realms: z.strictObject({ consumer: realmWishes, enterprise: realmWishes }).partial().optional(),
  })
  .superRefine(({ realms }, context) => {
    for (const realm of ['consumer', 'enterprise'] as const) {
      const { tenants = sampleTenants[realm], people } = realms?.[realm] ?? {}
      const complain = (message: string, ...path: (string | number)[]): void =>
        context.addIssue({ code: 'custom', message, path: ['realms', realm, ...path] })
      if (realm === 'consumer' && tenants.length > 1) complain('this realm is one tenant', 'tenants')
      if (tenants !== sampleTenants[realm] && people === undefined) {
        complain('the sample people are of other tenants: name some', 'people')
      }
      for (const [index, { tenant }] of (people ?? []).entries()) {
        if (!tenants.some(({ id }) => id === tenant))
          complain('is no tenant of this realm', 'people', index, 'tenant')
      }
    }
  })

export type Wishes = z.infer<typeof wishesSchema>
/** As somebody writes them: what has a default may be left out. */
export type RealmWishes = z.input<typeof realmWishes>

/** Throws, naming the file and each member that is wrong. Files that it names lie beside it unless they are absolute. */
export function readWishes(file: string): Wishes {
  const wishes = readConfig(file, wishesSchema)
  refuseRepeated(file)
  const { sentinel } = wishes
  if (sentinel?.webhook === undefined) return wishes
  const { url, key } = sentinel.webhook
  return { ...wishes, sentinel: { ...sentinel, webhook: { url, key: resolve(dirname(file), key) } } }
}

/** Of two members with one name the last would count, and whoever reads the first is wrong. */
function refuseRepeated(file: string): void {
  try {
    parseObject(readFileSync(file, 'utf8'))
  } catch {
    throw new Error(`${file} is not usable: a member stands in it twice`)
  }
}
