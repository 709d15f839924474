/**
 * What is shown of the authority to whoever watches over it: how far rotations are, and numbers for Prometheus.
 * @module
 */

import { Numbers, serveNumbers } from '@countersign/service/metrics'
import type { FastifyInstance } from 'fastify'
import type { Acks, Rotation } from './client.ts'
import { keyStates, type Slot } from './lifecycle.ts'

/** What is looked at. */
export interface View {
  rotation(): Rotation
  slots(): readonly Slot[]
  acks(): Acks
}

/** Adds `GET /rotation` and `GET /metrics` to a server. */
export function addObservation(http: FastifyInstance, view: View): void {
  const { numbers, show } = createNumbers()
  http.get('/rotation', (_request, reply) => reply.header('cache-control', 'no-store').send(view.rotation()))
  serveNumbers(http, numbers, () => show(view))
}

function createNumbers(): { readonly numbers: Numbers; show(view: View): void } {
  const numbers = new Numbers()
  const ofSlot = ['realm', 'issuer', 'purpose'] as const
  const leader = numbers.gauge('countersign_authority_leader', 'Whether this authority rotates and publishes')
  const version = numbers.gauge('countersign_manifest_version', 'Version of the newest manifest')
  const silent = numbers.gauge(
    'countersign_validators_silent',
    'Enrolled validators that have not acknowledged the newest manifest',
  )
  const keys = numbers.gauge('countersign_slot_keys', 'Keys of a slot, by state', [...ofSlot, 'state'])
  const ages = numbers.gauge(
    'countersign_active_key_age_ratio',
    'Age of the key that signs as a part of what its charter allows',
    [...ofSlot, 'kid'],
  )
  const due = numbers.gauge(
    'countersign_rotation_due_timestamp_seconds',
    'When the active key has had its turn',
    ofSlot,
  )
  const waiting = numbers.gauge(
    'countersign_rotation_waits_for',
    'Validators that the next key waits for',
    ofSlot,
  )
  const overdue = numbers.gauge(
    'countersign_rotation_overdue',
    'Validators that were silent for so long that the next key waits for them no more',
    ofSlot,
  )

  return {
    numbers,
    show: (view) => {
      const { leader: leads, slots } = view.rotation()
      const acks = view.acks()
      leader.set(leads ? 1 : 0)
      version.set(acks.version)
      silent.set(acks.silent.length)
      for (const each of [keys, ages, due, waiting, overdue]) each.reset()
      for (const { realm, issuer, purpose, ...slot } of slots) {
        const labels = { realm, issuer, purpose }
        if (slot.active !== null && slot.age_ratio !== null) {
          ages.set({ ...labels, kid: slot.active }, slot.age_ratio)
        }
        if (slot.due_at !== null) due.set(labels, slot.due_at)
        waiting.set(labels, slot.waits_for.length)
        overdue.set(labels, slot.overdue.length)
      }
      for (const { realm, issuer, purpose, keys: all } of view.slots()) {
        for (const state of keyStates) {
          const count = all.filter((key) => key.state === state).length
          keys.set({ realm, issuer, purpose, state }, count)
        }
      }
    },
  }
}
