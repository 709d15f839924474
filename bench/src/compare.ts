/**
 * Countersign beside its peers, all in one run on one machine. What counts is the ratio; the absolute figures belong to the
 * machine.
 * @module
 */

import { availableParallelism, cpus } from 'node:os'
import { connectCrowd, startTemporarySystem } from '@countersign/cli/client'
import { killWhileCached } from './cached-kill.ts'
import { endpointOf, startBare } from './endpoints.ts'
import { measureGateways } from './gateway.ts'
import { grants, tokensPerSignature } from './grants.ts'
import { activeKey, measureKill } from './kill.ts'
import { measureWitness } from './log.ts'
import { type Result, runRounds } from './rounds.ts'
import { measureSignatures } from './signatures.ts'
import { rowsOf, showSection } from './table.ts'
import { verifyPeers } from './verify.ts'

/** Measures everything and prints it, a section at a time. */
export async function compare(): Promise<void> {
  const model = cpus()[0]?.model.trim() ?? 'unknown processor'
  process.stdout.write(`Node ${process.version}, ${availableParallelism()} processors, ${model}\n`)

  const { uncached, bulk, cached, characters } = await verifyPeers()
  showSection('verdicts, each token once', rowsOf(await measure(uncached, 'jose'), 'fast-jwt'))
  showSection('verdicts in bulk, each token once', rowsOf(await measure(bulk, 'countersign, in turn')))
  showSection('verdicts, token seen before', rowsOf(await measure(cached, 'fast-jwt')))
  showSection('a key is killed while its verdicts are cached', await killWhileCached())
  showSection('what a receipt adds to a token', [
    { label: 'token without receipt', value: `${characters.bare} characters` },
    { label: 'lone receipt', value: `+ ${characters.lone - characters.bare} characters` },
    { label: 'receipt of a batch of 32', value: `+ ${characters.batch - characters.bare} characters` },
  ])

  const signatures = await measureSignatures()
  showSection('signatures, ES256', [
    ...rowsOf(signatures.results),
    ...(signatures.missing === undefined ? [] : [{ label: signatures.missing, value: '' }]),
  ])

  const bare = await startBare()
  const system = await startTemporarySystem()
  try {
    const endpoint = await endpointOf(system.ready)
    const contenders = [grants('oidc-provider alone', bare.endpoint), grants('countersign', endpoint)]
    const results = await runRounds(contenders, {
      base: 'oidc-provider alone',
      rounds: 7,
      milliseconds: 2000,
    })
    showSection('grants through the token endpoint', [
      ...rowsOf(results),
      { label: 'tokens per receipt signature', value: (await tokensPerSignature(endpoint)).toFixed(1) },
    ])
    await measureGateways(system)
    const [follower] = await connectCrowd(system.ready.authority, 1)
    const kid = activeKey(follower, 'enterprise')
    await follower?.stop()
    showSection('witness, durable appends', await measureWitness(system, kid))
    showSection('killing a key', await measureKill(system.ready))
  } finally {
    bare.stop()
    await system.stop()
  }
}

function measure(contenders: Parameters<typeof runRounds>[0], base: string): Promise<Result[]> {
  // Short turns: a machine that changes its speed changes it for all of them.
  return runRounds(contenders, { base, rounds: 21, milliseconds: 200 })
}
