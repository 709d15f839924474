/**
 * What answers: `/auth`, `/introspect`, Envoy's questions, health and numbers, by the settings of the moment. One process has
 * one of it, whether it is the whole gateway or a worker of one.
 * @module
 */

import type { AddressInfo } from 'node:net'
import { createHttp, type Logger } from '@countersign/service'
import type { ConnectedValidator } from '@countersign/validator/connect'
import type { Enrolment } from '@countersign/validator/enrolment'
import type { ReplayCache } from '@countersign/validator/replay'
import type { Validator } from '@countersign/validator/validator'
import { serveAuth, type Witnessed } from './auth.ts'
import { type EnvoyServer, serveEnvoy } from './envoy.ts'
import { createGate, type Gate } from './gate.ts'
import { type Introspection, serveIntrospection, type Watch } from './introspect.ts'
import type { Metrics, Way } from './metrics.ts'
import { HEADER_BYTES_MAX, refuseUnreadable } from './oversize.ts'
import type { Settings } from './settings.ts'

/** What stands behind the answers. */
export interface FrontWorld {
  readonly validator: ConnectedValidator
  /** Outlives every configuration: a proof that was shown under one may not be shown again under the next. */
  readonly replay: ReplayCache
  /** Its key signs answers for those who ask for it. */
  readonly enrolment: Enrolment
  readonly watch: Watch
  readonly metrics: Pick<Metrics, 'countDecision'>
  /** The numbers of all processes, in the text format of Prometheus. */
  numbersText(): Promise<string>
  readonly log: Logger
}

export interface Places {
  readonly port: number
  readonly envoyPort: number | undefined
}

export interface Front {
  /** Throws where the settings are of no use. Calling what it gives back has them taken, at once and whole. */
  prepare(settings: Settings): () => void
  /** On loopback. */
  listen(): Promise<Places>
  connections(): Promise<number>
  /** Answers what was asked already, and ends. */
  stop(): Promise<void>
}

/** What is under way then takes far less; a proxy's own connections stay open until they are closed. */
const DRAIN_MILLISECONDS_MAX = 1000

/** Throws where the settings are of no use. */
export async function createFront(first: Settings, world: FrontWorld): Promise<Front> {
  const { validator, replay, enrolment, metrics, log } = world
  const { listen, envoy: wanted, audience } = first.config
  const validators = new Map([[audience, validator as Validator]])
  let envoy: EnvoyServer | undefined
  let isStopping = false

  function validatorFor(other: string = audience): Validator {
    const known = validators.get(other) ?? validator.forAudience(other)
    validators.set(other, known)
    return known
  }

  function open({ config, clients, secrets }: Settings): { gate: Gate; introspection: Introspection } {
    const issuer = config.introspection_issuer
    const gate = createGate(config, { validatorFor, replay, secrets })
    const signer = issuer === undefined ? undefined : { issuer, privateKey: enrolment.privateKey }
    return { gate, introspection: { clients, watch: world.watch, signer } }
  }

  let current = open(first)
  const http = createHttp(log, {
    headerBytesMax: HEADER_BYTES_MAX,
    // By which way it was meant to come stands in what nobody reads; `/auth` is what there is a proxy in front of.
    onUnreadable: (error, socket) =>
      refuseUnreadable(error, socket, () => witnessed('auth')({ verdict: 'oversized' }, 0, undefined)),
    drains: true,
  })
  const witnessed =
    (way: Way): Witnessed =>
    ({ verdict, refusal }, seconds, network) => {
      metrics.countDecision(way, verdict, seconds)
      if (verdict !== 'accepted')
        log.info({ way, reason: verdict, why: refusal?.message, network }, 'refused')
    }
  serveAuth(http, () => current.gate, witnessed('auth'))
  await serveIntrospection(
    http,
    validator,
    () => current.introspection,
    (verdict, seconds) => metrics.countDecision('introspect', verdict, seconds),
  )
  http.get('/healthz', () => ({ status: 'ok' }))
  http.get('/readyz', (_request, reply) =>
    reply.code(validator.isReady ? 200 : 503).send({ ready: validator.isReady }),
  )
  http.get('/metrics', async (_request, reply) =>
    reply.type('text/plain; version=0.0.4; charset=utf-8').send(await world.numbersText()),
  )

  return {
    prepare: (next) => {
      const opened = open(next)
      return () => {
        current = opened
      }
    },
    listen: async () => {
      await http.listen({ host: '127.0.0.1', port: listen.port })
      envoy = wanted && (await serveEnvoy(wanted.port, () => current.gate, witnessed('envoy')))
      return { port: (http.server.address() as AddressInfo).port, envoyPort: envoy?.port }
    },
    connections: () =>
      new Promise((resolve) => http.server.getConnections((_error, count) => resolve(count ?? 0))),
    stop: async () => {
      if (isStopping) return
      isStopping = true
      const late = setTimeout(() => http.server.closeAllConnections(), DRAIN_MILLISECONDS_MAX)
      await Promise.all([http.close(), envoy?.stop()])
      clearTimeout(late)
    },
  }
}
