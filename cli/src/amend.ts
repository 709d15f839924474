/**
 * `countersign charter propose --config FILE`: the next charter as a configuration asks for it, while the system runs. A realm
 * that is new gets its signer before anybody approves it, as in a move of keys: a signer that no charter names can make no key that
 * counts, and one that runs already makes the first as soon as it is named.
 * @module
 */

import { existsSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { openBrokerAdmin } from '@countersign/broker/client'
import { readPayload, type SignedDocument } from '@countersign/validator/document'
import type { JsonObject } from '@countersign/validator/json'
import { prepareSigner } from './ceremony.ts'
import { readWishes, type Wishes } from './config.ts'
import { readJson, writePrivate } from './files.ts'
import { keystoresOf } from './keystores.ts'
import { brokerRealms, brokerRemote, type Layout, layOut } from './layout.ts'
import { type Ports, portsFileIn } from './ports.ts'
import type { InForce } from './proposal.ts'
import type { System } from './ready.ts'
import { type Amendment, amend, newRealms } from './rules.ts'
import { readyFileIn } from './system.ts'
import { keepProposed } from './wishes.ts'
import { planWorld, type World } from './world.ts'

export interface Draft {
  /** Members of the next charter, without its number and time. */
  readonly charter: JsonObject
  /** False where the charter in force says all of it. */
  readonly isChanged: boolean
  /** What whoever proposes it has to know besides what changes. */
  readonly notes: readonly string[]
  /** Starts what it needs. To be called once somebody wants it. */
  readonly prepare: () => Promise<void>
}

/** Throws where the system does not run on this machine: its signers are made here. */
export async function draftFrom(
  file: string,
  { authority }: Pick<System, 'authority'>,
  { documents }: Pick<InForce, 'documents'>,
  ready: string | undefined,
): Promise<Draft> {
  const data = dirname(authority.trust_anchor)
  if (!existsSync(portsFileIn(data)))
    throw new Error(`--config makes signers where the system runs, and ${data} is not on this machine`)
  const layout = layOut(data, readJson<Ports>(portsFileIn(data)))
  const wishes = readWishes(resolve(file))
  const world = planWorld(wishes)
  const before = readPayload((documents.at(-1) as SignedDocument).payload)
  const signers = await Promise.all(
    newRealms(before, world).map(
      async (realm) => [realm, await prepareSigner(data, join(data, 'cache'), realm)] as const,
    ),
  )
  const amendment = amend(before, layout.issuers, world, Object.fromEntries(signers))
  return {
    charter: amendment.charter,
    isChanged: amendment.isChanged,
    notes: notesOn(amendment, layout, wishes),
    prepare: async () => {
      await startSigners(layout, amendment.added, world, wishes)
      keepProposed(data, wishes)
      for (const readyFile of new Set([readyFileIn(data), ...(ready === undefined ? [] : [ready])]))
        announce(readyFile, layout, amendment.added, world)
    },
  }
}

interface BrokerFile {
  readonly realms: Readonly<Record<string, object>>
  readonly remote?: object
}

/** The broker that runs takes them in; the next start writes the same. */
async function startSigners(
  layout: Layout,
  added: readonly string[],
  { elsewhere }: World,
  { remote }: Wishes,
): Promise<void> {
  if (added.length === 0) return
  const file = layout.configFile('broker')
  const config = readJson<BrokerFile>(file)
  const realms = { ...config.realms, ...brokerRealms(layout, added).realms }
  // Whether it listens at all is settled when it starts.
  const reached = config.remote === undefined ? {} : brokerRemote(elsewhere, remote)
  writePrivate(file, { ...config, realms, ...reached })
  const broker = openBrokerAdmin(layout.socket('broker-admin'))
  try {
    await broker.reload()
  } catch (error) {
    writePrivate(file, config)
    throw error
  } finally {
    broker.close()
  }
}

/** Where their issuers find them. */
function announce(
  readyFile: string,
  { data, socket }: Layout,
  added: readonly string[],
  { elsewhere }: World,
): void {
  const system = readJson<System>(readyFile)
  const issuers = added.map((realm) => [
    realm,
    { issuer: elsewhere[realm]?.issuer, broker_socket: socket(`broker-${realm}`) },
  ])
  const keystores = added.map((realm) => [realm, keystoresOf(data, realm).at(-1)?.keystore])
  writePrivate(readyFile, {
    ...system,
    elsewhere: { ...system.elsewhere, ...Object.fromEntries(issuers) },
    keystores: { ...system.keystores, ...Object.fromEntries(keystores) },
  })
}

function notesOn(
  { added, moved, unnamed }: Amendment,
  layout: Layout,
  { remote }: Wishes,
): readonly string[] {
  const { remote: running } = readJson<BrokerFile>(layout.configFile('broker'))
  const isReachedAnew = remote !== undefined && running === undefined
  return [
    ...unnamed.map(
      (realm) =>
        `${realm} is in the charter and not in the file: it stays. charter propose --file takes it out`,
    ),
    ...added.flatMap((realm) => [
      `${realm}: its signer runs as soon as this is proposed, and has its first key as soon as it is approved`,
      `${realm}: its issuer asks for tokens at ${layout.socket(`broker-${realm}`)}`,
    ]),
    ...moved.map(
      (realm) =>
        `${realm}: its next key has these tenants; countersign key rotate --realm ${realm} brings it in`,
    ),
    ...(added.length === 0
      ? []
      : [
          'a validator of your own takes them when it is given the realm; those of countersign up do from its next start on',
        ]),
    ...(moved.length === 0 ? [] : ['its issuer has new tenants from the next start on']),
    ...(isReachedAnew ? ['the broker listens for issuers on other machines from the next start on'] : []),
    'the next start of countersign up goes by this file, if it has been approved by then',
  ]
}
