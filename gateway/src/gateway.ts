/**
 * Puts the validator in front of anything: a proxy asks `/auth` for each request, a service asks `/introspect`. SIGHUP makes
 * it read its configuration again; what is in the making then is decided by the one that it began with.
 * @module
 */

import type { AddressInfo } from 'node:net'
import { isDeepStrictEqual } from 'node:util'
import { createHttp, type Logger, type Running } from '@countersign/service'
import { serveNumbers } from '@countersign/service/metrics'
import { bearerAllowed, connectValidator } from '@countersign/validator/connect'
import { readEnrolment } from '@countersign/validator/enrolment'
import { createReplayCache } from '@countersign/validator/replay'
import type { Validator } from '@countersign/validator/validator'
import { serveAuth, type Witnessed } from './auth.ts'
import type { GatewayConfig } from './config.ts'
import { serveEnvoy } from './envoy.ts'
import { createGate, type Gate } from './gate.ts'
import { type Introspection, readClients, serveIntrospection } from './introspect.ts'
import { createKicker, type Kicker } from './kick.ts'
import { createMetrics, type Way } from './metrics.ts'
import { HEADER_BYTES_MAX, refuseUnreadable } from './oversize.ts'

/** Longer than this the start does not wait for the authority; tokens are refused until it is there. */
const READY_MILLISECONDS_MAX = 5000

/** What a configuration may not change under a gateway that runs: whom it believes, who it is, where it listens. */
const fixed = [
  'listen',
  'realms',
  'audience',
  'authority',
  'trust_anchor',
  'state',
  'enrolment',
  'sentinel',
  'envoy',
  'bound_realms',
  'bearer_allowed',
] as const satisfies readonly (keyof GatewayConfig)[]

/** What a configuration says, ready to decide by. */
interface Settings {
  readonly gate: Gate
  readonly introspection: Introspection
}

export async function startGateway(
  config: GatewayConfig,
  log: Logger,
  reread: () => GatewayConfig = () => config,
): Promise<Running> {
  const enrolment = readEnrolment(config.enrolment.name, config.enrolment.key)
  const validator = connectValidator({
    realm: config.realms,
    audience: config.audience,
    authority: config.authority,
    trustAnchorFile: config.trust_anchor,
    stateFolder: config.state,
    enrolment: { name: config.enrolment.name, keyFile: config.enrolment.key },
    sentinel: config.sentinel,
    boundRealms: config.bound_realms,
    [bearerAllowed]: config.bearer_allowed,
    onProblem: (problem) => log.warn({ problem: problem.message }, 'trust is not up to date'),
  })
  const replay = createReplayCache()
  const validators = new Map<string, Validator>()
  const kickers = new Map<string, Kicker>()

  function validatorFor(audience: string = config.audience): Validator {
    if (audience === config.audience) return validator
    const known = validators.get(audience) ?? validator.forAudience(audience)
    validators.set(audience, known)
    return known
  }

  /** Throws where the files that it names are of no use. */
  function prepare(next: GatewayConfig): Settings {
    const clients = next.introspection_clients === undefined ? [] : readClients(next.introspection_clients)
    const issuer = next.introspection_issuer
    const gate = createGate(next, { validatorFor, replay })
    const signer = issuer === undefined ? undefined : { issuer, privateKey: enrolment.privateKey }
    const kickersByClient = new Map<string, Kicker>()
    for (const { client_id, kick: target } of clients) {
      if (target === undefined) continue
      const name = JSON.stringify([client_id, target])
      // The tokens that are watched already are watched on, whatever the next configuration says.
      const kicker =
        kickers.get(name) ?? createKicker({ target, validator, onProblem: reportKick(client_id) })
      kickers.set(name, kicker)
      kickersByClient.set(client_id, kicker)
    }
    return { gate, introspection: { clients, kickers: kickersByClient, signer } }
  }

  function reportKick(client_id: string): (problem: Error) => void {
    return (problem) => log.error({ client_id, problem: problem.message }, 'sessions are still open')
  }

  function reload(): void {
    try {
      const next = reread()
      const changed = fixed.filter((name) => !isDeepStrictEqual(next[name], config[name]))
      if (changed.length > 0) throw new Error(`needs a new start: ${changed.join(', ')}`)
      settings = prepare(next)
      metrics.countReload('taken')
      log.info('the configuration was read again')
    } catch (error) {
      metrics.countReload('refused')
      log.error({ error: (error as Error).message }, 'the configuration stays as it was')
    }
  }

  const http = createHttp(log, { headerBytesMax: HEADER_BYTES_MAX, onUnreadable: refuseUnreadable })
  const metrics = createMetrics({
    get manifestVersion() {
      return validator.trust.state?.manifest.version
    },
    get manifestAgeSeconds() {
      return validator.trust.ageSeconds()
    },
    get isReady() {
      return validator.isReady
    },
    get watchedSessions() {
      return [...kickers.values()].reduce((sum, { watched }) => sum + watched, 0)
    },
    connections: () =>
      new Promise((resolve) => http.server.getConnections((_error, count) => resolve(count ?? 0))),
  })
  let settings = prepare(config)
  const witnessed =
    (way: Way): Witnessed =>
    ({ verdict }, seconds, network) => {
      metrics.countDecision(way, verdict, seconds)
      if (verdict !== 'accepted') log.info({ way, reason: verdict, network }, 'refused')
    }
  serveAuth(http, () => settings.gate, witnessed('auth'))
  await serveIntrospection(
    http,
    validator,
    () => settings.introspection,
    (verdict, seconds) => metrics.countDecision('introspect', verdict, seconds),
  )
  http.get('/healthz', () => ({ status: 'ok' }))
  http.get('/readyz', (_request, reply) =>
    reply.code(validator.isReady ? 200 : 503).send({ ready: validator.isReady }),
  )
  serveNumbers(http, metrics.numbers)
  await validator.whenReady(READY_MILLISECONDS_MAX)
  await http.listen({ host: '127.0.0.1', port: config.listen.port })
  const envoy = config.envoy && (await serveEnvoy(config.envoy.port, () => settings.gate, witnessed('envoy')))
  process.on('SIGHUP', reload)
  const { port } = http.server.address() as AddressInfo
  return {
    ready: {
      url: `http://127.0.0.1:${port}`,
      audience: config.audience,
      ...(envoy && { envoy: `127.0.0.1:${envoy.port}` }),
    },
    stop: async () => {
      process.off('SIGHUP', reload)
      await Promise.all([http.close(), envoy?.stop()])
      for (const kicker of kickers.values()) kicker.stop()
      await validator.stop()
    },
  }
}
