/**
 * What the sentinel counts: sightings, alerts, blocks, and how keys, logs and validators are.
 * @module
 */

import { Numbers } from '@countersign/service/metrics'
import type { Sighting } from '@countersign/validator/sighting'
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
  readonly numbers: Numbers
}

export function createMetrics(): Metrics {
  const numbers = new Numbers()
  const sightings = numbers.counter(
    'countersign_sightings_total',
    'Decisions that validators reported, by verdict',
    ['validator', 'verdict'],
  )
  const alerts = numbers.counter('countersign_alerts_total', 'Alerts raised, by rule', ['rule', 'severity'])
  const blocks = numbers.histogram(
    'countersign_block_seconds',
    'From the order to block a key to the last acknowledgement',
    [0.1, 0.25, 0.5, 1, 2, 5, 30],
  )
  const ages = numbers.gauge(
    'countersign_key_age_ratio',
    'Age of a key as a part of what its charter allows',
    ['kid', 'realm'],
  )
  const sizes = numbers.gauge('countersign_log_entries', 'Entries read of a log', ['origin'])
  const checkpoints = numbers.gauge(
    'countersign_log_checkpoint_timestamp_seconds',
    'When a log last signed a checkpoint',
    ['origin'],
  )
  const silent = numbers.gauge(
    'countersign_validators_behind',
    'Validators that have not acknowledged the newest manifest',
  )
  const signed = numbers.gauge('countersign_key_signatures', 'Signatures that the signer counted', ['kid'])
  const logged = numbers.gauge('countersign_key_entries', 'Entries that the log holds', ['kid'])

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
    numbers,
  }
}
