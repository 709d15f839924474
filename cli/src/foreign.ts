/**
 * `key block --iss` and `cutoff --iss`: who would notice that a key, or the tokens so far, of an issuer that is not ours are
 * denied, and who has noticed. Sightings are all there is to know it by: no log of ours has its tokens. And nobody here can sign
 * as that issuer, so there is no canary; what shows that a denial holds is that a real token is refused for it.
 * @module
 */

import { setTimeout as delay } from 'node:timers/promises'
import type { Command } from '@countersign/authority/client'
import { type ForeignUsage, fetchForeignUsage, type KeyUsage } from '@countersign/sentinel/client'
import type { Manifest } from '@countersign/validator/manifest'
import { fitsIssuer } from '@countersign/validator/scope'
import { sightedKey } from '@countersign/validator/sighting'
import type { DryRunOptions } from './dry-run.ts'
import type { System } from './ready.ts'
import { locate, withManifest } from './system.ts'
import { formatMoment, formatNames, formatSection, formatTable } from './table.ts'

/** What is commanded about an issuer that is not ours. */
export type ForeignTarget = Omit<Command, 'reason'> & { readonly iss: string }

/** What a denial would do. */
export interface ForeignForesight {
  readonly op: Command['op']
  readonly iss: string
  readonly kid: string | null
  /** Since when it has been denied already, in seconds since the epoch; null where it has not. */
  readonly blocked_since: number | null
  readonly hours: number
  readonly validators: KeyUsage['validators']
  /** For whom tokens were accepted; a tenant where the token names one as Entra's do. */
  readonly issuers: readonly IssuerRow[]
  /** Other issuers whose tokens name a key so: reached where the same keys sign for them, as at Entra. */
  readonly others: readonly IssuerRow[]
  /** Nobody logs what others issue. */
  readonly live_tokens: null
  /** Nobody here can sign as somebody else. */
  readonly canary: null
}

interface IssuerRow {
  readonly issuer: string
  readonly tenant: string | null
  readonly accepted: number
  readonly last_seen_ms: number
}

/** Shows it, as JSON or for a person. Throws where it cannot be known: "nobody" would be a dangerous guess. */
export async function dryRunForeign(
  { sentinel }: System,
  target: ForeignTarget,
  { ready, hours, json }: DryRunOptions,
): Promise<void> {
  if (target.kid !== undefined && !sightedKey.test(target.kid))
    throw new Error('validators tell of no key by such a name, so who would notice is not known')
  const manifest = await withManifest(await locate({ ready }), ({ state }) => state?.manifest as Manifest)
  const usage = await fetchForeignUsage(sentinel.url, { ...target, hours }).catch(() => {
    throw new Error(`the sentinel at ${sentinel.url} does not answer, so who would notice is not known`)
  })
  const foresight = foreseeForeign(target, usage, manifest)
  const text = json ? JSON.stringify(foresight, undefined, 2) : describeForeign(foresight, target)
  process.stdout.write(`${text}\n`)
}

export function foreseeForeign(
  { op, iss, kid, tenant }: ForeignTarget,
  { seen, hours }: Pick<ForeignUsage, 'seen' | 'hours'>,
  { foreign }: Pick<Manifest, 'foreign'>,
): ForeignForesight {
  const ofTenant = seen.filter((row) => isOfTenant(tenant, row))
  const block = foreign.blocked.find((each) => each.issuer === iss && each.kid === kid)
  const accepted = ofTenant.filter(({ verdict }) => verdict === 'accepted')
  return {
    op,
    iss,
    kid: kid ?? null,
    blocked_since: block?.at ?? null,
    hours,
    validators: [...Map.groupBy(ofTenant, ({ validator }) => validator)].map(([name, rows]) => {
      const tokens = (isRefused: boolean): number =>
        sum(rows.filter(({ verdict }) => (verdict !== 'accepted') === isRefused))
      return { name, accepted: tokens(false), refused: tokens(true), last_seen_ms: last(rows) }
    }),
    issuers: issuerRows(accepted.filter((row) => isOf(iss, row))),
    others: issuerRows(accepted.filter((row) => !isOf(iss, row))),
    live_tokens: null,
    canary: null,
  }
}

type Seen = ForeignUsage['seen'][number]

function isOf(iss: string, { issuer }: Seen): boolean {
  return issuer === iss || fitsIssuer(iss, issuer)
}

/** A tenant that is no `tid` is the issuer's own affair: its rows name none. */
function isOfTenant(tenant: string | undefined, row: Seen): boolean {
  return tenant === undefined || row.tenant === null || row.tenant === tenant
}

function issuerRows(rows: readonly Seen[]): IssuerRow[] {
  const groups = Map.groupBy(rows, ({ issuer, tenant }) => JSON.stringify([issuer, tenant]))
  return [...groups.values()].map((group) => {
    const { issuer, tenant } = group[0] as Seen
    return { issuer, tenant, accepted: sum(group), last_seen_ms: last(group) }
  })
}

function sum(rows: readonly Seen[]): number {
  return rows.reduce((count, { tokens }) => count + tokens, 0)
}

function last(rows: readonly Seen[]): number {
  return Math.max(...rows.map((row) => row.last_seen_ms))
}

/** For a person. */
export function describeForeign(foresight: ForeignForesight, { sub }: Pick<Command, 'sub'> = {}): string {
  const { op, iss, kid, blocked_since, hours, validators, issuers, others } = foresight
  const what = kid === null ? `the tokens so far of ${iss}` : `the key ${kid} of ${iss}`
  const othersTitle =
    'other issuers with a key so named: reached where the same keys sign for them, as at Entra'
  return [
    `${op}: a dry run, nothing is done. It would deny ${what} at every validator that takes its tokens`,
    ...(blocked_since === null ? [] : [`it is blocked already, since ${formatMoment(blocked_since * 1000)}`]),
    ...(sub === undefined ? [] : ['no sighting names a person: what follows is of everybody there']),
    '',
    formatSection(
      `validators that saw it in the last ${hours} h`,
      ['validator', 'accepted', 'refused', 'last'],
      validators.map((row) => [
        row.name,
        `${row.accepted}`,
        `${row.refused}`,
        formatMoment(row.last_seen_ms),
      ]),
    ),
    formatSection('issuers whose tokens were accepted', issuerHeading, issuers.map(issuerCells)),
    ...(others.length === 0 ? [] : [formatSection(othersTitle, issuerHeading, others.map(issuerCells))]),
    ...(validators.length > 0
      ? []
      : ['Nobody saw it. A name that no validator knows kills nothing: read it off a token.']),
    'clients, and tokens that are good now: not known; nobody here logs what others issue',
    ...(kid === null ? [] : [`next key: one that ${iss} shows; nothing of ours takes its place`]),
    noCanary(iss),
  ].join('\n')
}

const issuerHeading = ['issuer', 'tenant', 'accepted', 'last'] as const

function issuerCells({ issuer, tenant, accepted, last_seen_ms }: IssuerRow): string[] {
  return [issuer, tenant ?? '', `${accepted}`, formatMoment(last_seen_ms)]
}

/** One validator that refused a token for the denial. */
export interface Refused {
  readonly validator: string
  readonly issuer: string
  readonly reason: string
  readonly tokens: number
  /** From the command. */
  readonly milliseconds: number
}

/** Long enough for who is refused right now to be reported, short enough for a person to wait. */
const REFUSAL_MILLISECONDS_MAX = 2000
const POLL_MILLISECONDS = 100

/**
 * Who has refused a really signed token for the sake of the denial since `since` (milliseconds since the epoch): as soon as
 * somebody has, or none after a moment. Undefined where the sentinel does not say.
 */
export async function watchRefusals(
  sentinel: string,
  { op, iss, kid }: Pick<Command, 'op' | 'kid'> & { readonly iss: string },
  since: number,
): Promise<readonly Refused[] | undefined> {
  const reasons = op === 'cutoff' ? ['issued_before_cutoff'] : ['key_blocked', 'key_revoked']
  const endsAt = performance.now() + REFUSAL_MILLISECONDS_MAX
  for (;;) {
    const question = { iss, kid, hours: (Date.now() - since) / HOUR_MILLISECONDS }
    const late = AbortSignal.timeout(REFUSAL_MILLISECONDS_MAX)
    const usage = await fetchForeignUsage(sentinel, question, late).catch(() => undefined)
    if (usage === undefined) return undefined
    const refused = usage.seen
      .filter(({ verdict, first_seen_ms }) => reasons.includes(verdict) && first_seen_ms >= since)
      .map(({ validator, issuer, verdict, tokens, first_seen_ms }) => {
        return { validator, issuer, reason: verdict, tokens, milliseconds: first_seen_ms - since }
      })
    if (refused.length > 0 || performance.now() > endsAt) return refused
    await delay(POLL_MILLISECONDS)
  }
}

const HOUR_MILLISECONDS = 3_600_000

const DOUBT_HOURS = 24

/**
 * What speaks against a name that was denied: the authority takes whatever it is called, every validator acknowledges it, and a
 * slip kills nothing. Undefined where nothing does, or the sentinel does not say.
 */
export async function doubtName(
  sentinel: string,
  { iss, kid, tenant }: Pick<Command, 'kid' | 'tenant'> & { readonly iss: string },
): Promise<string | undefined> {
  // Of keys by other names sightings do not tell.
  const sighted = kid !== undefined && sightedKey.test(kid) ? kid : undefined
  const late = AbortSignal.timeout(REFUSAL_MILLISECONDS_MAX)
  const usage = await fetchForeignUsage(sentinel, { iss, kid: sighted, hours: DOUBT_HOURS }, late).catch(
    () => undefined,
  )
  if (usage === undefined || usage.seen.some((row) => isOf(iss, row) && isOfTenant(tenant, row)))
    return undefined
  const others = new Set(usage.seen.filter((row) => !isOf(iss, row)).map(({ issuer }) => issuer))
  const what = [
    iss,
    ...(tenant === undefined ? [] : [`of tenant ${tenant}`]),
    ...(sighted === undefined ? [] : ['by this key']),
  ]
  const seen = others.size === 0 ? '' : `, but of ${formatNames([...others])}`
  return `NOBODY SAW a token of ${what.join(' ')} in the last ${DOUBT_HOURS} h${seen}: a name that no validator knows kills nothing; read it off a token`
}

/** What shows, in place of a canary, that the denial holds; or that nothing does yet, and why. */
export function describeRefusals(
  { iss }: { readonly iss: string },
  refused: readonly Refused[] | undefined,
): readonly string[] {
  if (refused === undefined)
    return [noCanary(iss), 'the sentinel does not answer, so whether one has been refused is not known']
  if (refused.length === 0)
    return [
      noCanary(iss),
      'none has been seen yet; the same command with --dry-run counts those that are refused later',
    ]
  const rows = refused.map(({ validator, issuer, reason, tokens, milliseconds }) => [
    validator,
    reason,
    `${tokens}`,
    `${milliseconds} ms`,
    issuer,
  ])
  return [
    'a real token has been refused for it',
    formatTable(['validator', 'reason', 'tokens', 'first after', 'issuer'], rows),
  ]
}

function noCanary(iss: string): string {
  return `no canary: nobody here can sign as ${iss}. That it holds is shown by the first real token that is refused`
}
