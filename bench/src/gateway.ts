/**
 * Requests per second that gateways answer, ours beside a bare one over `jose`, with tokens of a running system; then the same
 * from behind nginx. Ours looks for the receipt as well, reports each token that it sees, and forgets it with a key.
 * @module
 */

import { operate, type RunningSystem } from '@countersign/cli/client'
import { endpointOf } from './endpoints.ts'
import { type GatewayProcess, startBareGateway, startGateway } from './gateways.ts'
import { collectTokens } from './grants.ts'
import { type LoadContender, type LoadOptions, requestsTo, requestWith } from './load.ts'
import { missingNginx, startNginx } from './nginx.ts'
import { type Result, ratioBetween, runRounds } from './rounds.ts'
import { type Row, rowsOf, showSection } from './table.ts'

/** More than are asked about within one round. */
const TOKENS = 8192
/** So many come again and again. */
const TOKENS_SEEN = 512
const ROUNDS = 7
const MILLISECONDS = 500
/** A service runs for days; what its first seconds cost is left out, and is more where there is more code. */
const WARM_UP_MILLISECONDS = 2500

const OURS = 'countersign gateway'
const BARE = 'bare Node gateway over jose'

/** Measures both ways of asking, and prints them. */
export async function measureGateways(system: RunningSystem): Promise<void> {
  const tokens = await collectTokens(await endpointOf(system.ready), TOKENS, system.ready.gateway.audience)
  const [ours, bare] = [await startGateway(system), await startBareGateway(system)]
  try {
    const forget = (): Promise<void> => forgetVerdicts(system)
    await measureAlone(ours, bare, tokens, forget)
    const missing = missingNginx()
    if (missing === undefined) await measureBehindNginx(system, ours, bare, tokens, forget)
    else showSection('behind nginx', [{ label: missing, value: '' }])
  } finally {
    await Promise.all([ours.stop(), bare.stop()])
  }
}

async function measureAlone(
  ours: GatewayProcess,
  bare: GatewayProcess,
  tokens: readonly string[],
  forget: () => Promise<void>,
): Promise<void> {
  const seen = tokens.slice(0, TOKENS_SEEN)
  const cached = [askWith(BARE, bare.url, seen), askWith(OURS, ours.url, seen)]
  const uncached = [
    askWith(BARE, bare.url, tokens, { once: true, processorSeconds: bare.processorSeconds }),
    askWith(OURS, ours.url, tokens, { once: true, prepare: forget, processorSeconds: ours.processorSeconds }),
  ]
  for (const { measure } of uncached) await measure(WARM_UP_MILLISECONDS)
  const results = await measure(uncached, BARE)
  const [theirTime = Number.NaN, ourTime = Number.NaN] = uncached.map(({ secondsPerRequest }) =>
    secondsPerRequest(),
  )
  showSection('gateway, each token once', [
    ...withDelays(results, uncached),
    {
      label: 'processor time per request',
      value: `${((ourTime / theirTime) * 100).toFixed(0)} % of the bare one`,
    },
  ])
  showSection('gateway, tokens seen before', withDelays(await measure(cached, BARE), cached))
}

async function measureBehindNginx(
  system: RunningSystem,
  ours: GatewayProcess,
  bare: GatewayProcess,
  tokens: readonly string[],
  forget: () => Promise<void>,
): Promise<void> {
  const nginx = await startNginx(system.data, { countersign: ours.url, bare: bare.url })
  try {
    const seen = tokens.slice(0, TOKENS_SEEN)
    const [alone, overBare, again, once] = [
      askWith('nginx alone', nginx.alone, seen),
      askWith('nginx, bare gateway over jose', nginx.bare, seen),
      askWith('nginx, countersign', nginx.countersign, seen),
      askWith('nginx, countersign, each token once', nginx.countersign, tokens, {
        once: true,
        prepare: forget,
      }),
    ]
    const contenders = [alone, overBare, again, once]
    const results = await measure(contenders, alone.name)
    const overJose = (at: number): Row => ({
      label: `${results[at]?.name.replace('nginx, ', '')}, beside jose`,
      value: '',
      ratio: ratioBetween(results[at], results[1]),
    })
    showSection('behind nginx', [...withDelays(results, contenders), overJose(2), overJose(3)])
  } finally {
    await nginx.stop()
  }
}

function measure(contenders: readonly LoadContender[], base: string): Promise<Result[]> {
  return runRounds(contenders, { base, rounds: ROUNDS, milliseconds: MILLISECONDS })
}

function askWith(
  name: string,
  url: string,
  tokens: readonly string[],
  more: Omit<LoadOptions, 'url' | 'requests'> = {},
): LoadContender {
  return requestsTo(name, { url, requests: tokens.map((token) => requestWith(url, token)), ...more })
}

function withDelays(results: readonly Result[], contenders: readonly LoadContender[]): Row[] {
  return rowsOf(results).map((row, at) => {
    const within = (share: number): string => `${contenders[at]?.within(share).toFixed(1)} ms`
    return { ...row, note: `p50 ${within(0.5)}, p99 ${within(0.99)}` }
  })
}

let cutoffs = 0

/** A new manifest, in which nothing changes for these tokens: no validator knows a verdict or a receipt's root after it. */
async function forgetVerdicts({ ready }: RunningSystem): Promise<void> {
  const nobody = { realm: 'enterprise', sub: `nobody-${cutoffs++}` }
  const { silent } = await operate(ready.authority, { op: 'cutoff', ...nobody, before: 1, reason: 'bench' })
  if (silent.length > 0) throw new Error(`${silent} did not hear of a manifest`)
}
