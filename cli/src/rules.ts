/**
 * What a configuration asks of a charter: the members of each realm. At the first start they are the charter, at a later one
 * they have to stand in a charter that was approved, and in between they are drafted into the next. Pure.
 * @module
 */

import type { JsonObject, JsonValue } from '@countersign/validator/json'
import type { PublicJwk } from '@countersign/validator/jws'
import type { Layout } from './layout.ts'
import { completeTerms, type Realm, type Terms, type World } from './world.ts'

export type Rule = Readonly<Record<string, JsonValue>>
/** By realm. */
export type Rules = Readonly<Record<string, Rule>>

/** What the first charter says of each realm, but for its signers. */
export function rulesOf(issuers: Layout['issuers'], world: World): Rules {
  return mapValues(askedOf(issuers, world), (asked) => ({ ...asked, ...world.terms }))
}

/** What has to stand in a charter: of the times only those that somebody wrote, since they may have been changed by approval. */
export function demandsOf(issuers: Layout['issuers'], world: World): Rules {
  return mapValues(askedOf(issuers, world), (asked) => ({ ...asked, ...world.wishedTerms }))
}

function askedOf(issuers: Layout['issuers'], { tenants, elsewhere }: World): Rules {
  const rulesFor = (realm: Realm): Rule => ({
    issuers: [issuers[realm]],
    tenants: tenants[realm].map(({ id }) => id),
    token_types: ['access', 'id', 'logout', 'set'],
    // Receivers of security events verify RS256; all else is signed with the first.
    algs: ['ES256', 'RS256'],
  })
  const rulesElsewhere = mapValues(elsewhere, ({ issuer, tenants, algorithm }) => {
    return { issuers: [issuer], tenants, token_types: ['access', 'id', 'logout'], algs: [algorithm] }
  })
  return { consumer: rulesFor('consumer'), enterprise: rulesFor('enterprise'), ...rulesElsewhere }
}

/** Something that is asked and stands in none of the charters. */
export interface Unmet {
  readonly realm: string
  /** Undefined where the realm itself is not there. */
  readonly member?: string
  readonly wanted?: JsonValue
  /** In the last of them. */
  readonly found?: JsonValue | undefined
}

/** The first demand that no charter meets; each is met by any of them, so that what was changed by approval is no fault. */
export function firstUnmet(demands: Rules, charters: readonly JsonObject[]): Unmet | undefined {
  const realms = charters.map(({ realms }) => realms as unknown as Rules)
  for (const [realm, demand] of Object.entries(demands)) {
    const rules = realms.flatMap((each) => (Object.hasOwn(each, realm) ? [each[realm] as Rule] : []))
    if (rules.length === 0) return { realm }
    for (const [member, wanted] of Object.entries(demand)) {
      if (rules.some((rule) => isSame(rule[member], wanted))) continue
      return { realm, member, wanted, found: rules.at(-1)?.[member] }
    }
  }
  return undefined
}

export interface Amendment {
  /** Members of the next charter, without its number and time. */
  readonly charter: JsonObject
  /** Realms that are new in it. */
  readonly added: readonly string[]
  /** Realms that lose or get tenants. */
  readonly moved: readonly string[]
  /** Realms of the charter that the configuration does not name: they stay. */
  readonly unnamed: readonly string[]
  readonly isChanged: boolean
}

/**
 * The charter with what the configuration names. What it leaves out stays as it is: a realm is taken out, or a time put back, by whoever
 * says so. `signers` has the identity of a signer for each realm that is new.
 */
export function amend(
  charter: JsonObject,
  issuers: Layout['issuers'],
  world: World,
  signers: Readonly<Record<string, PublicJwk>>,
): Amendment {
  const before = charter['realms'] as unknown as Rules
  const demands = demandsOf(issuers, world)
  const isKnown = (realm: string): boolean => Object.hasOwn(before, realm)
  const realms = mapValues(demands, (demand, realm): Rule => {
    if (isKnown(realm)) return withOverlap({ ...before[realm], ...demand }, world.wishedTerms)
    return { ...demand, ...world.terms, signers: [signers[realm] as unknown as JsonValue] }
  })
  const known = Object.keys(demands).filter(isKnown)
  return {
    charter: { ...charter, realms: { ...before, ...realms } },
    added: newRealms(charter, world),
    moved: known.filter((realm) => !isSame(before[realm]?.['tenants'], realms[realm]?.['tenants'])),
    unnamed: Object.keys(before).filter((realm) => !Object.hasOwn(demands, realm)),
    isChanged: Object.keys(realms).some((realm) => !isSame(before[realm], realms[realm])),
  }
}

/** Those of the configuration that the charter has not. */
export function newRealms(
  { realms }: JsonObject,
  { elsewhere }: Pick<World, 'elsewhere'>,
): readonly string[] {
  return Object.keys(elsewhere).filter((realm) => !Object.hasOwn(realms as object, realm))
}

/** An overlap follows from how long a token lives, unless somebody wrote one: it is never cut down by the way. */
function withOverlap(rule: Rule, wished: Partial<Terms>): Rule {
  if (wished.max_ttl === undefined || wished.overlap_seconds !== undefined) return rule
  const least = completeTerms({ max_ttl: wished.max_ttl }).overlap_seconds
  return { ...rule, overlap_seconds: Math.max(Number(rule['overlap_seconds']), least) }
}

function isSame(one: JsonValue | undefined, other: JsonValue | undefined): boolean {
  return JSON.stringify(one) === JSON.stringify(other)
}

function mapValues<Value, Result>(
  object: Readonly<Record<string, Value>>,
  change: (value: Value, name: string) => Result,
): Readonly<Record<string, Result>> {
  return Object.fromEntries(Object.entries(object).map(([name, value]) => [name, change(value, name)]))
}
