/**
 * How Envoy asks by gRPC whether a request may pass (`ext_authz`, version 3). It tells the original request whole, in one
 * message; the decision is the one that `/auth` gives.
 * @module
 */

import { fileURLToPath } from 'node:url'
import type { GuardedRequest } from '@countersign/validator/guard'
import {
  status as codes,
  loadPackageDefinition,
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type ServiceClientConstructor,
  type sendUnaryData,
} from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import type { Witnessed } from './auth.ts'
import type { Answer, Gate } from './gate.ts'

/** Members that were not sent are left out. */
export interface CheckRequest {
  readonly attributes?: {
    readonly source?: { readonly address?: { readonly socket_address?: { readonly address?: string } } }
    readonly request?: { readonly http?: HttpRequest }
  }
}

interface HttpRequest {
  readonly method?: string
  readonly path?: string
  readonly host?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly header_map?: {
    readonly headers?: readonly {
      readonly key?: string
      readonly value?: string
      readonly raw_value?: Buffer
    }[]
  }
}

export interface CheckResponse {
  readonly status: { readonly code: number }
  readonly ok_response?: { readonly headers: readonly HeaderOption[] }
  readonly denied_response?: {
    readonly status: { readonly code: number }
    readonly headers: readonly HeaderOption[]
    readonly body: string
  }
}

interface HeaderOption {
  readonly header: { readonly key: string; readonly value: string }
  readonly append_action: number
  readonly keep_empty_value: boolean
}

export interface EnvoyServer {
  readonly port: number
  /** Answers what is asked already, and ends. */
  stop(): Promise<void>
}

/** The service as grpc-js knows it; a client of it comes with it. */
export const authorization: ServiceClientConstructor = (
  loadPackageDefinition(
    loadSync(fileURLToPath(new URL('./ext_authz.proto', import.meta.url)), { keepCase: true }),
  ) as unknown as { envoy: { service: { auth: { v3: { Authorization: ServiceClientConstructor } } } } }
).envoy.service.auth.v3.Authorization

/** Listens on loopback. `gate` is asked anew each time. */
export async function serveEnvoy(
  port: number,
  gate: () => Gate,
  witnessed: Witnessed = () => {},
): Promise<EnvoyServer> {
  const server = new Server()
  server.addService(authorization.service, {
    Check: (call: ServerUnaryCall<CheckRequest, CheckResponse>, answer: sendUnaryData<CheckResponse>) => {
      const began = performance.now()
      const asking = guarded(call.request, call.getPeer(), call)
      gate()
        .decide(asking)
        .then((decided) => {
          witnessed(decided, (performance.now() - began) / 1000, asking.network)
          answer(null, respond(decided))
        })
        // Envoy takes it for a refusal, unless it was told `failure_mode_allow`.
        .catch(() => answer({ code: codes.INTERNAL, details: 'the decision failed here' }))
    },
  })
  const bound = await new Promise<number>((resolve, reject) =>
    server.bindAsync(`127.0.0.1:${port}`, ServerCredentials.createInsecure(), (error, at) =>
      error === null ? resolve(at) : reject(error),
    ),
  )
  return {
    port: bound,
    stop: async () => {
      const late = setTimeout(() => server.forceShutdown(), STOP_MILLISECONDS_MAX)
      await new Promise<void>((resolve) => server.tryShutdown(() => resolve()))
      clearTimeout(late)
    },
  }
}

/** A proxy keeps its connection open; what is being decided takes far less. */
const STOP_MILLISECONDS_MAX = 500

function guarded({ attributes }: CheckRequest, peer: string, source: object): GuardedRequest {
  const http = attributes?.request?.http ?? {}
  return {
    source,
    rawHeaders: rawHeadersOf(http),
    method: http.method ?? '',
    target: http.path ?? '',
    host: http.host ?? '',
    network: attributes?.source?.address?.socket_address?.address,
    peer: peer.replace(/:\d+$/, ''),
  }
}

function rawHeadersOf({ headers = {}, header_map }: HttpRequest): readonly string[] {
  const joined = Object.entries(headers).flat()
  const raw = (header_map?.headers ?? []).flatMap(({ key = '', value, raw_value }) => [
    key,
    raw_value === undefined || raw_value.length === 0 ? (value ?? '') : raw_value.toString('latin1'),
  ])
  return [...joined, ...raw]
}

function respond({ status, headers, body }: Answer): CheckResponse {
  const list = Object.entries(headers).map(([key, value]) => ({
    header: { key, value },
    append_action: OVERWRITE,
    keep_empty_value: true,
  }))
  if (status === 200) {
    // What is for the client alone has no place in what the application gets.
    return { status: { code: codes.OK }, ok_response: { headers: list.filter(isIdentity) } }
  }
  return {
    status: { code: status === 401 ? codes.UNAUTHENTICATED : codes.PERMISSION_DENIED },
    denied_response: {
      status: { code: status },
      headers: [...list, contentType],
      body: JSON.stringify(body ?? {}),
    },
  }
}

const OVERWRITE = 2
const contentType: HeaderOption = {
  header: { key: 'content-type', value: 'application/json; charset=utf-8' },
  append_action: OVERWRITE,
  keep_empty_value: false,
}

function isIdentity({ header }: HeaderOption): boolean {
  return header.key.startsWith('x-auth-')
}
