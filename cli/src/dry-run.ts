/**
 * `--dry-run`: who would notice a kill. Nothing is commanded; the manifest says what a kill would reach, and the sentinel
 * who has used it lately.
 * @module
 */

import type { Command } from '@countersign/authority/client'
import { fetchUsage, type KeyUsage } from '@countersign/sentinel/client'
import type { Manifest, ManifestKey } from '@countersign/validator/manifest'
import type { System } from './ready.ts'
import { locate, withManifest } from './system.ts'
import { formatMoment, formatSection } from './table.ts'

export interface DryRunOptions {
  readonly ready?: string | undefined
  readonly hours: number
  readonly json: boolean
}

/** What a kill would do. */
export interface Foresight {
  readonly op: Command['op']
  /** The keys whose tokens it reaches. */
  readonly keys: readonly { readonly kid: string; readonly realm: string; readonly state: string }[]
  readonly hours: number
  readonly validators: KeyUsage['validators']
  readonly tenants: KeyUsage['tenants']
  readonly clients: KeyUsage['clients']
  /** Tokens that are good now and would not be. Of all tenants: the log knows none. */
  readonly live_tokens: number
  readonly live_until: number | null
  /** Sign-ins begun since this time end; null where none do. Seconds since the epoch. */
  readonly sign_ins_since: number | null
  /** Which key could take over, and from when without two people; null where none stands ready. Left out by a cutoff. */
  readonly successor?: Successor | null
}

interface Successor {
  readonly kid: string
  /** Seconds since the epoch. */
  readonly from: number
}

/** Shows it, as JSON or for a person. Throws where the sentinel does not answer: "nobody" would be a dangerous guess. */
export async function dryRun(
  { sentinel }: System,
  command: Omit<Command, 'reason'>,
  { ready, hours, json }: DryRunOptions,
): Promise<void> {
  const manifest = await withManifest(await locate({ ready }), ({ state }) => state?.manifest as Manifest)
  const keys = keysReached(manifest, command)
  const usages = await Promise.all(keys.map(({ kid }) => fetchUsage(sentinel.url, kid, hours))).catch(() => {
    throw new Error(`the sentinel at ${sentinel.url} does not answer, so who would notice is not known`)
  })
  const foresight = foresee(manifest, command, keys, usages, hours)
  const text = json ? JSON.stringify(foresight, undefined, 2) : describe(foresight, Date.now() / 1000)
  process.stdout.write(`${text}\n`)
}

/** The keys that verify something which the command would end. Throws for one that no manifest names. */
export function keysReached(
  { keys }: Pick<Manifest, 'keys'>,
  { kid, realm, tenant }: Omit<Command, 'reason'>,
): readonly ManifestKey[] {
  if (kid !== undefined) {
    const key = keys.get(kid)
    if (key === undefined) throw new Error(`no manifest names the key ${kid}`)
    return [key]
  }
  return [...keys.values()].filter(
    (key) =>
      (key.state === 'active' || key.state === 'retiring') &&
      (realm === undefined || key.realm === realm) &&
      (tenant === undefined || key.tenants.includes(tenant)),
  )
}

export function foresee(
  manifest: Pick<Manifest, 'keys'>,
  { op, tenant }: Omit<Command, 'reason'>,
  keys: readonly ManifestKey[],
  usages: readonly KeyUsage[],
  hours: number,
): Foresight {
  const [key] = keys
  const ofTenant = (row: { readonly tenant: string }): boolean =>
    tenant === undefined || row.tenant === tenant
  const ends = usages.map(({ live_until }) => live_until).filter((until) => until !== null)
  return {
    op,
    keys: keys.map(({ kid, realm, state }) => ({ kid, realm, state })),
    hours,
    validators: addUp(
      usages.flatMap(({ validators }) => validators),
      ['name'],
    ),
    tenants: addUp(
      usages.flatMap(({ tenants }) => tenants),
      ['tenant'],
    ).filter(ofTenant),
    clients: addUp(
      usages.flatMap(({ clients }) => clients),
      ['client', 'tenant'],
    ).filter(ofTenant),
    live_tokens: usages.reduce((sum, { live_tokens }) => sum + live_tokens, 0),
    live_until: ends.length === 0 ? null : Math.max(...ends),
    sign_ins_since: op === 'cutoff' || key === undefined || key.state === 'published' ? null : key.notBefore,
    ...(op !== 'cutoff' && key !== undefined && { successor: successorOf(manifest, key) }),
  }
}

/** The published key of the same slot that may sign soonest. */
function successorOf({ keys }: Pick<Manifest, 'keys'>, killed: ManifestKey): Successor | null {
  const isOfSlot = (key: ManifestKey): boolean =>
    key.kid !== killed.kid &&
    key.state === 'published' &&
    key.realm === killed.realm &&
    key.issuer === killed.issuer &&
    key.tokenTypes.join() === killed.tokenTypes.join()
  const [next] = [...keys.values()].filter(isOfSlot).sort((a, b) => a.notBefore - b.notBefore)
  return next === undefined ? null : { kid: next.kid, from: next.notBefore }
}

/** Rows of the same name as one: counts added, times the latest. */
function addUp<Row extends object>(rows: readonly Row[], names: readonly (keyof Row)[]): Row[] {
  const sums = new Map<string, Row>()
  for (const row of rows) {
    const name = JSON.stringify(names.map((each) => row[each]))
    const sum = sums.get(name)
    sums.set(name, sum === undefined ? row : (Object.fromEntries(Object.entries(row).map(merge(sum))) as Row))
  }
  return [...sums.values()]
}

function merge(sum: object) {
  return ([member, value]: [string, unknown]): [string, unknown] => {
    const before = (sum as Record<string, unknown>)[member]
    if (typeof value !== 'number' || typeof before !== 'number') return [member, value]
    return [member, member.startsWith('last_') ? Math.max(before, value) : before + value]
  }
}

/** For a person; `now` is in seconds since the epoch. */
export function describe(foresight: Foresight, now: number): string {
  const { op, keys, hours, validators, tenants, clients, live_tokens, live_until, sign_ins_since } = foresight
  const meant = keys.map(({ kid, realm, state }) => `  ${kid}  ${realm}, ${state}`)
  return [
    `${op}: a dry run, nothing is done. It would reach ${keys.length === 1 ? 'the key' : `${keys.length} keys`}`,
    ...meant,
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
    formatSection(
      'tenants',
      ['tenant', 'accepted', 'last'],
      tenants.map((row) => [row.tenant, `${row.accepted}`, formatMoment(row.last_seen_ms)]),
    ),
    formatSection(
      'clients',
      ['client', 'tenant', 'tokens', 'last issued'],
      clients.map((row) => [row.client, row.tenant, `${row.tokens}`, formatMoment(row.last_issued_ms)]),
    ),
    live_until === null
      ? 'tokens that are good now: none in the log'
      : `tokens that are good now: ${live_tokens}, the last until ${formatMoment(live_until * 1000)}`,
    ...(sign_ins_since === null
      ? []
      : [`sign-ins that end: those begun since ${formatMoment(sign_ins_since * 1000)}`]),
    ...describeSuccessor(foresight, now),
  ].join('\n')
}

function describeSuccessor({ successor }: Foresight, now: number): string[] {
  if (successor === undefined) return []
  if (successor === null)
    return ['next key: none stands ready, so the realm would sign nothing until one does']
  const { kid, from } = successor
  if (from <= now) return [`next key: ${kid} stands ready; --replace lets it take over in the same breath`]
  return [`next key: ${kid} may sign from ${formatMoment(from * 1000)}, earlier if two people say so`]
}
