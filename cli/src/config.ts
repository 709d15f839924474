/**
 * `countersign up --config FILE`: what somebody wants otherwise than the sample has it. JSON; whatever is left out stays
 * as it was, and a member that is not known here is refused, since it may be a known one misspelt. Whatever is wrong is
 * named by file, line and member. docs/configuration.md shows all of it.
 * @module
 */

import { readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { remoteConfig } from '@countersign/broker/client'
import { findContradictions, gatewayPolicy } from '@countersign/gateway/client'
import { configSchema, findContradiction, seedSchema } from '@countersign/issuer/client'
import { sentinelConfig } from '@countersign/sentinel/client'
import { readConfig } from '@countersign/service/config'
import { CLOCK_DIFFERENCE_SECONDS_MAX } from '@countersign/validator/charter'
import { parseObject } from '@countersign/validator/json'
import { z } from 'zod'
import { LEAVING } from './keystores.ts'
import { audiences, completeTerms, realms as ownRealms, sampleTenants, type Terms } from './world.ts'

const DAY_SECONDS = 24 * 3600
/** An ID token lives that long. */
const TOKEN_SECONDS_MIN = 600

const { policy, webhook } = sentinelConfig.shape
const { clients, people } = seedSchema.shape
const { client_certificate, mutual_tls, resources } = configSchema.shape
const remoteListener = remoteConfig.omit({ clients: true })
const remoteClient = remoteConfig.shape.clients.element

/** Secrets may be left out of it: they are made then, and stand in the ready file. */
const realmWishes = z.strictObject({
  tenants: z
    .array(z.strictObject({ id: z.uuid(), name: z.string().min(1) }))
    .min(1)
    .optional(),
  clients: z.array(clients.element.partial({ client_secret: true })).optional(),
  people: z.array(people.element.partial({ password: true })).optional(),
  /** What its tokens may be for, besides what the sample has. */
  resources: resources.optional(),
  client_certificate,
  mutual_tls,
})

/** A realm whose issuer is not ours, and keeps everything but its keys: docs/bring-your-own-issuer.md. */
const elsewhereWish = z.strictObject({
  /** As it stands in every token; `{tenantid}` may stand in it. */
  issuer: z.string().regex(/^https?:\/\/\S+$/),
  tenants: z.array(z.uuid()).min(1),
  /** RS256 is what clients expect that were registered for nothing else. */
  algorithm: z.enum(['ES256', 'EdDSA', 'PS256', 'RS256']).default('RS256'),
  /** Certificates that it may come with, besides the socket on this machine. */
  clients: z.array(remoteClient.omit({ realm: true, issuers: true })).default([]),
})

export type ElsewhereWish = z.infer<typeof elsewhereWish>

/** A time as somebody writes it: whole seconds, or a text with its unit. */
function seconds(least: number, most: number) {
  return z.unknown().transform((value, context): number => {
    const read = readSeconds(value)
    if (typeof read === 'number' && read >= least && read <= most) return read
    const range = `must be at least ${formatSeconds(least)} and at most ${formatSeconds(most)}`
    context.addIssue({ code: 'custom', message: typeof read === 'string' ? read : range })
    return z.NEVER
  })
}

/** The seconds, or what is wrong with the value. */
function readSeconds(value: unknown): number | string {
  if (typeof value === 'number') {
    if (!Number.isInteger(value)) return 'must be whole seconds, or a text with a unit such as "90s"'
    return value > 0 ? value : 'must be more than zero'
  }
  if (typeof value !== 'string') return 'must be a number of seconds, or a text such as "24h"'
  const [, sign, count, unit = ''] = /^\s*([-+]?)(\d{1,12})\s*([^\d\s.]*)\s*$/.exec(value) ?? []
  if (count === undefined) return 'must be a whole number and a unit, such as "24h"'
  if (unit === '') return 'has no unit: s, m, h or d, as in "24h"'
  const unitSeconds = units.get(unit)
  if (unitSeconds === undefined) return 'has a unit that is not known: take s, m, h or d, as in "24h"'
  return sign !== '-' && Number(count) > 0 ? Number(count) * unitSeconds : 'must be more than zero'
}

const units: ReadonlyMap<string, number> = new Map([
  ['s', 1],
  ['m', 60],
  ['h', 3600],
  ['d', DAY_SECONDS],
])

function formatSeconds(value: number): string {
  const [unit, size] = [...units].findLast(([, size]) => value % size === 0) ?? ['s', 1]
  return `${value / size}${unit}`
}

type WishedTerms = { readonly [Name in keyof Terms]?: number | undefined }

/**
 * Times that would refuse a good token, let a key sign that nobody knows, or leave a realm without a key: what the charter
 * itself refuses, said of the member that somebody wrote.
 */
function checkTerms(wished: WishedTerms, context: z.RefinementCtx): void {
  const { rotation_seconds, key_age_max, max_ttl, overlap_seconds, cache_seconds } = completeTerms(wished)
  const complain = (members: readonly (keyof Terms)[], message: string): void => {
    const [member = 'rotation_seconds'] = members.filter((name) => wished[name] !== undefined)
    context.addIssue({ code: 'custom', message, path: [member] })
  }
  const overlapMin = max_ttl + CLOCK_DIFFERENCE_SECONDS_MAX
  if (overlap_seconds < overlapMin) {
    const why = `overlap_seconds must be at least max_ttl and a minute, ${formatSeconds(overlapMin)}`
    complain(['overlap_seconds', 'max_ttl'], why)
  }
  if (2 * cache_seconds > rotation_seconds) {
    const why = `rotation_seconds must be at least twice cache_seconds, ${formatSeconds(2 * cache_seconds)}`
    complain(['cache_seconds', 'rotation_seconds'], why)
  }
  const ageMin = rotation_seconds + 2 * cache_seconds
  if (key_age_max < ageMin) {
    const why = `key_age_max must be at least rotation_seconds and twice cache_seconds, ${formatSeconds(ageMin)}`
    complain(['key_age_max', 'rotation_seconds', 'cache_seconds'], why)
  }
}

export const wishesSchema = z
  .strictObject({
    charter: z
      .strictObject({
        rotation_seconds: seconds(1, 90 * DAY_SECONDS),
        key_age_max: seconds(1, 365 * DAY_SECONDS),
        max_ttl: seconds(TOKEN_SECONDS_MIN, DAY_SECONDS),
        overlap_seconds: seconds(1, 30 * DAY_SECONDS),
        cache_seconds: seconds(1, 30 * DAY_SECONDS),
        acknowledge_seconds: seconds(1, DAY_SECONDS),
      })
      .partial()
      .superRefine(checkTerms)
      .optional(),
    sentinel: policy.partial().extend({ webhook }).optional(),
    /** What the gateway asks of requests, and how a proxy puts them. */
    gateway: gatewayPolicy.partial().optional(),
    realms: z.strictObject({ consumer: realmWishes, enterprise: realmWishes }).partial().optional(),
    elsewhere: z.record(z.string().regex(/^[a-z][a-z0-9-]{0,15}$/), elsewhereWish).optional(),
    /** Where the broker listens for them, and with which certificates. */
    remote: remoteListener.optional(),
  })
  .superRefine(({ realms, elsewhere = {}, remote }, context) => {
    for (const [name, { clients }] of Object.entries(elsewhere)) {
      const complain = (message: string, ...path: string[]): void =>
        context.addIssue({ code: 'custom', message, path: ['elsewhere', name, ...path] })
      if (taken.includes(name)) complain('is the name of something else here')
      if (clients.length > 0 && remote === undefined)
        complain('have no way in: say in remote where the broker listens', 'clients')
    }
    for (const realm of ['consumer', 'enterprise'] as const) {
      const { tenants = sampleTenants[realm], people } = realms?.[realm] ?? {}
      const complain = (message: string, ...path: (string | number)[]): void =>
        context.addIssue({ code: 'custom', message, path: ['realms', realm, ...path] })
      const { clients = [], client_certificate, mutual_tls } = realms?.[realm] ?? {}
      if (client_certificate !== undefined && mutual_tls !== undefined)
        complain('certificates come from client_certificate already', 'mutual_tls')
      for (const [index, client] of clients.entries()) {
        if (client.token_endpoint_auth_method === undefined) continue
        const contradiction = findContradiction(client)
        if (contradiction !== undefined) complain(contradiction, 'clients', index)
        if (client_certificate === undefined && mutual_tls === undefined)
          complain('nobody says what certificate it has: client_certificate or mutual_tls', 'clients', index)
      }
      if (realm === 'consumer' && tenants.length > 1) complain('this realm is one tenant', 'tenants')
      if (tenants !== sampleTenants[realm] && people === undefined) {
        complain('the sample people are of other tenants: name some', 'people')
      }
      for (const [index, { tenant }] of (people ?? []).entries()) {
        if (!tenants.some(({ id }) => id === tenant))
          complain('is no tenant of this realm', 'people', index, 'tenant')
      }
      checkResources(realms?.[realm]?.resources ?? [], complain)
    }
  })
  .superRefine(({ gateway, realms, elsewhere = {} }, context) => {
    if (gateway === undefined) return
    const complain: Complain = (message, ...path) =>
      context.addIssue({ code: 'custom', message, path: ['gateway', ...path] })
    const names = [...ownRealms, ...Object.keys(elsewhere)]
    for (const { message, path } of findContradictions({ ...gateway, realms: names, token_type: 'access' }))
      complain(message, ...path)
    // Issuers that are not ours name audiences without us.
    if (names.length > ownRealms.length || gateway.issuers !== undefined) return
    const issuedFor = new Set<string | undefined>([undefined, ...Object.values(audiences)])
    for (const realm of ownRealms)
      for (const { audience } of realms?.[realm]?.resources ?? []) issuedFor.add(audience)
    const nobodys =
      'no realm issues tokens for it: name it in realms.consumer.resources or realms.enterprise.resources'
    if (!issuedFor.has(gateway.audience)) complain(nobodys, 'audience')
    for (const [index, { audience }] of (gateway.routes ?? []).entries())
      if (!issuedFor.has(audience)) complain(nobodys, 'routes', index, 'audience')
  })

type Complain = (message: string, ...path: (string | number)[]) => void

function checkResources(resources: readonly { readonly audience: string }[], complain: Complain): void {
  const all: string[] = Object.values(audiences)
  for (const [index, { audience }] of resources.entries()) {
    if (all.includes(audience)) complain('is there already', 'resources', index, 'audience')
    all.push(audience)
  }
}

/** What has a socket, an enrolment, a configuration or a place in a file by this name. */
const taken: readonly string[] = [
  ...['consumer', 'enterprise', 'admin', 'witness', 'broker', 'authority'],
  ...['gateway', 'webmail', 'sentinel', 'up', 'proposed', LEAVING],
]

export type Wishes = z.infer<typeof wishesSchema>
/** As somebody writes them: what has a default may be left out. */
export type RealmWishes = z.input<typeof realmWishes>

/** Throws, naming the file and each member that is wrong. Files that it names lie beside it unless they are absolute. */
export function readWishes(file: string): Wishes {
  const wishes = readConfig(file, wishesSchema)
  refuseAmbiguous(file)
  const beside = (name: string): string => resolve(dirname(file), name)
  const { sentinel, gateway, remote, realms } = wishes
  return {
    ...wishes,
    ...(sentinel?.webhook && {
      sentinel: { ...sentinel, webhook: { ...sentinel.webhook, key: beside(sentinel.webhook.key) } },
    }),
    ...(gateway?.dpop && { gateway: { ...gateway, dpop: withFiles(gateway.dpop, beside) } }),
    ...(remote && { remote: { ...remote, tls: withFiles(remote.tls, beside) } }),
    ...(realms && {
      realms: Object.fromEntries(
        Object.entries(realms).flatMap(([realm, wish]) =>
          wish === undefined ? [] : [[realm, withCertificates(wish, beside)]],
        ),
      ),
    }),
  }
}

function withCertificates(
  wish: z.infer<typeof realmWishes>,
  place: (name: string) => string,
): z.infer<typeof realmWishes> {
  const { client_certificate, mutual_tls } = wish
  return {
    ...wish,
    ...(client_certificate && { client_certificate: withFiles(client_certificate, place) }),
    ...(mutual_tls && { mutual_tls: withFiles(mutual_tls, place) }),
  }
}

const fileMembers: readonly string[] = ['key', 'cert', 'client_ca', 'crl', 'nonce_secrets']

function withFiles<Wish extends object>(wish: Wish, place: (name: string) => string): Wish {
  const entries = Object.entries(wish).map(([name, value]) => [
    name,
    fileMembers.includes(name) && typeof value === 'string' ? place(value) : value,
  ])
  return Object.fromEntries(entries) as Wish
}

/** Two readers must not take one text for two things. */
function refuseAmbiguous(file: string): void {
  try {
    parseObject(readFileSync(file, 'utf8'))
  } catch {
    throw new Error(`${file} is not usable: some JSON readers would read something else`)
  }
}
