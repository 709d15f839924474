/**
 * Puts the validator in front of anything: a proxy asks `/auth` for each request, a service asks `/introspect`. SIGHUP makes
 * it read its configuration again; what is in the making then is decided by the one that it began with. Here the gateway is one
 * process; with several workers, primary.ts is.
 * @module
 */

import { availableParallelism } from 'node:os'
import type { Logger, Running } from '@countersign/service'
import { connectValidator } from '@countersign/validator/connect'
import { readEnrolment } from '@countersign/validator/enrolment'
import { createReplayCache } from '@countersign/validator/replay'
import type { GatewayConfig } from './config.ts'
import { createFront } from './front.ts'
import { createKickers } from './kickers.ts'
import { takeOver } from './kin.ts'
import { createMetrics } from './metrics.ts'
import { startPrimary } from './primary.ts'
import { READY_MILLISECONDS_MAX, readyOf } from './ready.ts'
import { reload } from './reload.ts'
import { readNextSettings, readSettings, validatorOptions } from './settings.ts'

/** Starts what the configuration asks for, in this process or with workers beside it. */
export async function startGateway(
  config: GatewayConfig,
  log: Logger,
  reread: () => GatewayConfig = () => config,
): Promise<Running> {
  const workers = config.workers === 'auto' ? availableParallelism() : config.workers
  return workers === 1 ? startAlone(config, log, reread) : startPrimary({ config, workers, log, reread })
}

async function startAlone(config: GatewayConfig, log: Logger, reread: () => GatewayConfig): Promise<Running> {
  const enrolment = readEnrolment(config.enrolment.name, config.enrolment.key)
  let settings = readSettings(config)
  await takeOver(config.state, undefined)
  const validator = connectValidator({
    ...validatorOptions(config, log),
    authority: config.authority,
    trustAnchorFile: config.trust_anchor,
    stateFolder: config.state,
    enrolment: { name: config.enrolment.name, keyFile: config.enrolment.key },
    sentinel: config.sentinel,
  })
  const kickers = createKickers(() => validator, log)
  const metrics = createMetrics({
    trust: validator.trust,
    get isReady() {
      return validator.isReady
    },
    get watchedSessions() {
      return kickers.watched
    },
    connections: () => front.connections(),
  })
  const front = await createFront(settings, {
    validator,
    replay: createReplayCache(),
    enrolment,
    watch: ({ client_id }, _token, validated) => kickers.watch(client_id, validated),
    metrics,
    numbersText: metrics.text,
    log,
  })
  kickers.take(settings.clients)

  function takeNext(): void {
    const next = readNextSettings(reread(), settings)
    const take = front.prepare(next)
    kickers.take(next.clients)
    take()
    settings = next
  }
  const onReload = (): void => void reload(takeNext, metrics, log)

  // Before it waits for the authority: unheard, the signal would end it.
  process.on('SIGHUP', onReload)
  await validator.whenReady(READY_MILLISECONDS_MAX)
  const places = await front.listen()
  return {
    ready: readyOf(config, places),
    stop: async () => {
      process.off('SIGHUP', onReload)
      await front.stop()
      kickers.stop()
      await validator.stop()
    },
  }
}
