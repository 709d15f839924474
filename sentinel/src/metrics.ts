/**
 * The sentinel's numbers for Prometheus. Labels are names of ours (reasons, realms, keys, validators), never what a
 * presenter of tokens chose.
 * @module
 */

import type { Sighting } from '@countersign/validator/sighting'
import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { Alert } from './alert.ts'
import type { LogState } from './log-reader.ts'

export interface Metrics {
  countSighting(sighting: Sighting, validator: string): void
  countAlert(alert: Alert): void
  observeBlock(seconds: number): void
  showKeys(ages: readonly { readonly kid: string; readonly realm: string; readonly ratio: number }[]): void
  showLogs(logs: readonly LogState[]): void
  showSilent(validators: number): void
  showCounts(
    rows: readonly { readonly kid: string; readonly signatures: number; readonly entries: number }[],
  ): void
  /** The exposition text, and its media type. */
  text(): Promise<string>
  readonly contentType: string
}

export function createMetrics(): Metrics {
  const registry = new Registry()
  const registers = [registry]
  const sightings = new Counter({
    name: 'countersign_sightings_total',
    help: 'Decisions that validators reported, by verdict',
    labelNames: ['validator', 'verdict'],
    registers,
  })
  const alerts = new Counter({
    name: 'countersign_alerts_total',
    help: 'Alerts raised, by rule',
    labelNames: ['rule', 'severity'],
    registers,
  })
  const blocks = new Histogram({
    name: 'countersign_block_seconds',
    help: 'From the order to block a key to the last acknowledgement',
    buckets: [0.1, 0.25, 0.5, 1, 2, 5, 30],
    registers,
  })
  const ages = gauge('countersign_key_age_ratio', 'Age of a key as a part of what its charter allows', [
    'kid',
    'realm',
  ])
  const sizes = gauge('countersign_log_entries', 'Entries read of a log', ['origin'])
  const checkpoints = gauge(
    'countersign_log_checkpoint_timestamp_seconds',
    'When a log last signed a checkpoint',
    ['origin'],
  )
  const silent = gauge(
    'countersign_validators_behind',
    'Validators that have not acknowledged the newest manifest',
    [],
  )
  const signed = gauge('countersign_key_signatures', 'Signatures that the signer counted', ['kid'])
  const logged = gauge('countersign_key_entries', 'Entries that the log holds', ['kid'])

  function gauge(name: string, help: string, labelNames: string[]): Gauge {
    return new Gauge({ name, help, labelNames, registers })
  }

  return {
    countSighting: ({ verdict }, validator) => sightings.inc({ validator, verdict }),
    countAlert: ({ rule, severity }) => alerts.inc({ rule, severity }),
    observeBlock: (seconds) => blocks.observe(seconds),
    showKeys: (keys) => {
      ages.reset()
      for (const { kid, realm, ratio } of keys) ages.set({ kid, realm }, ratio)
    },
    showLogs: (logs) => {
      for (const { origin, size, signedAt } of logs) {
        sizes.set({ origin }, size)
        checkpoints.set({ origin }, signedAt)
      }
    },
    showSilent: (validators) => silent.set(validators),
    showCounts: (rows) => {
      signed.reset()
      logged.reset()
      for (const { kid, signatures, entries } of rows) {
        signed.set({ kid }, signatures)
        logged.set({ kid }, entries)
      }
    },
    text: () => registry.metrics(),
    contentType: registry.contentType,
  }
}
