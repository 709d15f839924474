/**
 * Requests per second that gateways answer, ours beside a bare one over `jose`, with tokens of a running system; then the same
 * from behind nginx. Ours looks for the receipt as well, reports each token that it sees, and forgets it with a key.
 * @module
 */

import { availableParallelism } from 'node:os'
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
/** So often a token comes in between. */
const TIMES = 4
const ROUNDS = 5
const MILLISECONDS = 500
/** A service runs for days: what its first tens of thousands of requests cost is left out, all at once. */
const WARM_UPS = 6
const WARM_UP_MILLISECONDS = 4000

/** As many processes as this machine has processors for. */
const WORKERS = availableParallelism()

interface Gateways {
  readonly ours: GatewayProcess
  readonly oursInWorkers: GatewayProcess
  readonly bare: GatewayProcess
  readonly bareInWorkers: GatewayProcess
}

const BARE = 'node:http and jose'
const BARE_IN_WORKERS = `the same, ${WORKERS} workers`
const OURS = 'countersign'
const OURS_IN_WORKERS = `${OURS}, ${WORKERS} workers, roots`

/** Measures both ways of asking, and prints them. */
export async function measureGateways(system: RunningSystem): Promise<void> {
  const endpoint = await endpointOf(system.ready)
  // There before the tokens are: what is told of roots is told to whoever listens.
  const gateways: Gateways = {
    ours: await startGateway(system, { workers: 1, pushed_roots: false }),
    oursInWorkers: await startGateway(system, { workers: WORKERS, pushed_roots: true }),
    bare: await startBareGateway(system, 1),
    bareInWorkers: await startBareGateway(system, WORKERS),
  }
  try {
    const tokens = await collectTokens(endpoint, TOKENS, system.ready.gateway.audience)
    const forget = (): Promise<void> => forgetVerdicts(system)
    await measureAlone(gateways, tokens, forget)
    const missing = missingNginx()
    if (missing === undefined) await measureBehindNginx(system, gateways, tokens, forget)
    else showSection('behind nginx', [{ label: missing, value: '' }])
  } finally {
    await Promise.all(Object.values(gateways).map((gateway) => gateway.stop()))
  }
}

async function measureAlone(
  { ours, oursInWorkers, bare, bareInWorkers }: Gateways,
  tokens: readonly string[],
  forget: () => Promise<void>,
): Promise<void> {
  const all = [
    [BARE, bare],
    [BARE_IN_WORKERS, bareInWorkers],
    [OURS, ours],
    [OURS_IN_WORKERS, oursInWorkers],
  ] as const
  const seen = tokens.slice(0, TOKENS_SEEN)
  const cached = all.map(([name, { url, processorSeconds }]) =>
    askWith(name, url, seen, { processorSeconds }),
  )
  // Each again while the one before is new: a client shows its token as often as it calls.
  const again = Array.from({ length: tokens.length * TIMES }, (_, at) => {
    const [block, within] = [Math.floor(at / (TOKENS_SEEN * TIMES)), at % TOKENS_SEEN]
    return tokens[block * TOKENS_SEEN + within] ?? ''
  })
  const warming = all.map(([name, { url }]) => askWith(name, url, tokens, { once: true }))
  const [mixed, uncached] = [again, tokens].map((shown) =>
    all.map(([name, { url, processorSeconds }]) => {
      const options = { once: true, processorSeconds, ...(name.startsWith(OURS) && { prepare: forget }) }
      return askWith(name, url, shown, options)
    }),
  ) as [LoadContender[], LoadContender[]]
  for (let count = 0; count < WARM_UPS; count++) {
    await forget()
    // What is less code is done with it sooner.
    const cold = warming.filter(({ name }) => count < 2 || name.startsWith(OURS))
    await Promise.all(cold.map(({ measure }) => measure(WARM_UP_MILLISECONDS)))
  }
  showSection('gateway, each token once', withDelays(await measure(uncached, BARE), uncached))
  showSection(`gateway, each token ${TIMES} times`, withDelays(await measure(mixed, BARE), mixed))
  showSection('gateway, tokens seen before', withDelays(await measure(cached, BARE), cached))
}

async function measureBehindNginx(
  system: RunningSystem,
  { ours, bare }: Gateways,
  tokens: readonly string[],
  forget: () => Promise<void>,
): Promise<void> {
  const nginx = await startNginx(system.data, { countersign: ours.url, bare: bare.url })
  try {
    const seen = tokens.slice(0, TOKENS_SEEN)
    const alone = askWith('nginx alone', nginx.alone, seen)
    const contenders = [
      alone,
      askWith(`nginx, ${BARE}`, nginx.bare, seen),
      askWith('nginx, countersign', nginx.countersign, seen),
      askWith('nginx, countersign, each once', nginx.countersign, tokens, { once: true, prepare: forget }),
    ]
    const results = await measure(contenders, alone.name)
    const overJose = (at: number): Row => ({
      label: `${results[at]?.name.replace('nginx, ', '')}, over jose`,
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
  const base = contenders[0]?.secondsPerRequest() ?? Number.NaN
  return rowsOf(results).map((row, at) => {
    const { within, secondsPerRequest } = contenders[at] as LoadContender
    const milliseconds = (share: number): string => `${within(share).toFixed(1)} ms`
    const share = secondsPerRequest() / base
    const processor = Number.isNaN(share) ? '' : `, processor ${share.toFixed(2)} ×`
    return { ...row, note: `p50 ${milliseconds(0.5)}, p99 ${milliseconds(0.99)}${processor}` }
  })
}

let cutoffs = 0

/** A new manifest, in which nothing changes for these tokens: no validator knows a verdict or a receipt's root after it. */
async function forgetVerdicts({ ready }: RunningSystem): Promise<void> {
  const nobody = { realm: 'enterprise', sub: `nobody-${cutoffs++}` }
  const { silent } = await operate(ready.authority, { op: 'cutoff', ...nobody, before: 1, reason: 'bench' })
  if (silent.length > 0) throw new Error(`${silent} did not hear of a manifest`)
}
