/**
 * Turns findings into alerts and orders. What a cause writes, the alerts it raises, the deliveries they need and the
 * blocks that the policy orders are one transaction; who listens hears of them after it.
 *
 * No storm: findings of the same rule, key, actor and severity are one alert that counts, until none came for an hour;
 * a key that is used from everywhere has few alerts, the last of which stands for all other places. A rule that insists
 * is the exception: each of its findings is an alert, and no setting changes that.
 * @module
 */

import type { TrustSource } from '@countersign/validator/manifest'
import type { Selectable } from 'kysely'
import {
  type Alert,
  type AlertReason,
  type Finding,
  insistent,
  type Rule,
  rules,
  type Severity,
} from './alert.ts'
import type { Policy } from './config.ts'
import type { Database, Session, Tables } from './store.ts'

export interface AlarmOptions {
  readonly database: Database
  readonly policy: Policy
  readonly trust: TrustSource
  /** Whether alerts have to be delivered to a webhook too. */
  readonly isDelivered: boolean
  /** Milliseconds since the epoch. */
  readonly now: () => number
}

/** Hears of an alert when it is raised, and again each time its count has doubled. */
export type AlertListener = (alert: Alert, isNew: boolean) => void

export interface Alarm {
  /** Runs what writes the cause, raises what it found, and commits both or neither. */
  record(cause: (session: Session) => Promise<readonly Finding[]>): Promise<void>
  /** The newest first; `before` is the id of an alert that was seen. */
  list(limit: number, before?: number): Promise<Alert[]>
  /** Those after the alert of that id, oldest first. */
  since(id: number): Promise<Alert[]>
  onAlert(listener: AlertListener): () => void
  /** Called when blocks or deliveries were ordered. */
  onOrder(listener: () => void): void
}

const QUIET_MILLISECONDS = 3_600_000
const ACTORS_MAX = 16
/** A block that was given up is worth another order after so long: a charter may name the block key by now. */
const FAILED_MILLISECONDS = 60_000
/** Stands for every actor past the first few. */
export const OTHER_ACTORS = 'others'

export function createAlarm({ database, policy, trust, isDelivered, now }: AlarmOptions): Alarm {
  const listeners = new Set<AlertListener>()
  const orderListeners = new Set<() => void>()

  async function record(cause: (session: Session) => Promise<readonly Finding[]>): Promise<void> {
    const raised = await database.transaction().execute(async (session) => {
      const findings = await cause(session)
      const outcomes: Outcome[] = []
      for (const group of groupAlike(findings)) outcomes.push(await raise(session, group))
      await orderBlocks(session, findings)
      return outcomes
    })
    for (const { alert, isNew, isDoubled } of raised)
      if (isNew || isDoubled) for (const listener of listeners) listener(alert, isNew)
    if (raised.length > 0) for (const listener of orderListeners) listener()
  }

  async function raise(session: Session, { finding, count, lastSeenAt }: Group): Promise<Outcome> {
    const isInsistent = insistent.includes(finding.rule)
    const open = isInsistent ? undefined : await findOpen(session, finding)
    const touched = { last_seen_ms: lastSeenAt, touched_ms: now() }
    if (open !== undefined) {
      const row = { ...open, ...touched, count: open.count + count }
      await session
        .updateTable('alerts')
        .set({ ...touched, count: row.count })
        .where('id', '=', open.id)
        .execute()
      return { alert: toAlert(row), isNew: false, isDoubled: Math.clz32(open.count) > Math.clz32(row.count) }
    }
    const { rule, severity, realm, kid, reason, validator } = finding
    const actor = isInsistent ? finding.actor : await chooseActor(session, finding)
    if (actor !== finding.actor) return raise(session, { finding: { ...finding, actor }, count, lastSeenAt })
    const fresh = {
      at: now(),
      rule,
      severity,
      realm,
      kid,
      reason,
      actor,
      validator,
      first_seen_ms: finding.seenAt,
    }
    const row = await session
      .insertInto('alerts')
      .values({ ...fresh, ...touched, count })
      .returningAll()
      .executeTakeFirstOrThrow()
    if (isDelivered) {
      await session
        .insertInto('deliveries')
        .values({ alert_id: row.id, attempts: 0, next_ms: now() })
        .execute()
    }
    return { alert: toAlert(row), isNew: true, isDoubled: false }
  }

  function findOpen(
    session: Session,
    { rule, severity, realm, kid, actor }: Finding,
  ): Promise<AlertRow | undefined> {
    return session
      .selectFrom('alerts')
      .selectAll()
      .where('rule', '=', rule)
      .where('severity', '=', severity)
      .where('realm', realm === null ? 'is' : '=', realm)
      .where('kid', kid === null ? 'is' : '=', kid)
      .where('actor', actor === null ? 'is' : '=', actor)
      .where('touched_ms', '>', now() - QUIET_MILLISECONDS)
      .orderBy('id', 'desc')
      .executeTakeFirst()
  }

  async function chooseActor(session: Session, { rule, kid, actor }: Finding): Promise<string | null> {
    if (actor === null || actor === OTHER_ACTORS) return actor
    const { actors } = await session
      .selectFrom('alerts')
      .select(({ fn }) => fn.countAll<number>().as('actors'))
      .where('rule', '=', rule)
      .where('kid', kid === null ? 'is' : '=', kid)
      .where('touched_ms', '>', now() - QUIET_MILLISECONDS)
      .executeTakeFirstOrThrow()
    return actors < ACTORS_MAX ? actor : OTHER_ACTORS
  }

  /** Orders each key to be blocked once; again only when it has been blocked and is live all the same, or could not be. */
  async function orderBlocks(session: Session, findings: readonly Finding[]): Promise<void> {
    const manifest = trust.state?.manifest
    for (const { kid, realm, reason } of findings) {
      // A key without a realm is not ours: whether an incident of others ends their key here, a person says.
      if (kid === null || realm === null || !policy.auto_block.some((blocked) => blocked === reason)) continue
      const state = manifest?.keys.get(kid)?.state
      if (state === 'blocked' || state === 'revoked' || state === 'retired') continue
      const order = { realm, reason, ordered_ms: now(), version: null, settled_ms: null, failure: null }
      await session
        .insertInto('blocks')
        .values({ kid, ...order })
        .onConflict((conflict) =>
          conflict
            .column('kid')
            .doUpdateSet(order)
            .where(({ and, eb, or }) =>
              or([
                eb('blocks.version', '<=', manifest?.version ?? 0),
                and([
                  eb('blocks.failure', 'is not', null),
                  eb('blocks.ordered_ms', '<=', now() - FAILED_MILLISECONDS),
                ]),
              ]),
            ),
        )
        .execute()
    }
  }

  return {
    record,
    list: async (limit, before = Number.MAX_SAFE_INTEGER) => {
      const newest = database.selectFrom('alerts').selectAll().orderBy('id', 'desc').limit(limit)
      return (await newest.where('id', '<', before).execute()).map(toAlert)
    },
    since: async (id) => {
      const later = database.selectFrom('alerts').selectAll().orderBy('id').limit(1000)
      return (await later.where('id', '>', id).execute()).map(toAlert)
    },
    onAlert: (listener) => {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    onOrder: (listener) => void orderListeners.add(listener),
  }
}

type AlertRow = Selectable<Tables['alerts']>

interface Outcome {
  readonly alert: Alert
  readonly isNew: boolean
  readonly isDoubled: boolean
}

/** Findings of one cause that will be one alert. */
interface Group {
  readonly finding: Finding
  count: number
  lastSeenAt: number
}

function groupAlike(findings: readonly Finding[]): Iterable<Group> {
  const groups = new Map<string, Group>()
  for (const finding of findings) {
    const { rule, severity, realm, kid, actor, seenAt } = finding
    const name = JSON.stringify([rule, severity, realm, kid, actor])
    const group = groups.get(name)
    if (group === undefined) groups.set(name, { finding, count: 1, lastSeenAt: seenAt })
    else {
      group.count++
      group.lastSeenAt = Math.max(group.lastSeenAt, seenAt)
    }
  }
  return groups.values()
}

function toAlert(row: AlertRow): Alert {
  const { touched_ms: _, ...alert } = row
  // Written by this module alone, from a `Finding`.
  const rule = row.rule as Rule
  return {
    ...alert,
    rule,
    severity: row.severity as Severity,
    reason: row.reason as AlertReason,
    message: rules[rule],
  }
}
