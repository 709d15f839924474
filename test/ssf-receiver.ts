/**
 * The receiver process of `ssf-receiver/`, in the hand of a test.
 * @module
 */

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'

/** An answer to a call of the management API. */
export interface CallAnswer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly text: string
  // biome-ignore lint/suspicious/noExplicitAny: a test looks at whatever came
  readonly body: any
}

/** A SET that the receiver has verified. */
export interface Arrived {
  readonly jti: string
  readonly text: string
  readonly header: { readonly alg: string; readonly typ: string; readonly rcpt?: string }
  readonly payload: {
    readonly iss: string
    readonly aud: string
    readonly jti: string
    readonly txn: string
    readonly sub_id: Readonly<Record<string, unknown>>
    readonly events: Readonly<Record<string, Readonly<Record<string, unknown>>>>
  }
}

export interface Receiver {
  // biome-ignore lint/suspicious/noExplicitAny: each verb answers otherwise
  do(verb: string, order?: object): Promise<any>
  /** Calls an endpoint by its name in the metadata, or by its URL, with the access token that was taken last. */
  call(
    method: string,
    endpoint: string,
    order?: { body?: object | string; query?: object; token?: string | undefined },
  ): Promise<CallAnswer>
  /** Takes an access token of the client, for the calls that follow. */
  authorize(client: string, secret: string, scope?: string): Promise<string>
  received(count: number): Promise<readonly Arrived[]>
  stop(): Promise<void>
}

export async function startReceiver(origins: Readonly<Record<string, string>> = {}): Promise<Receiver> {
  const child = fork(join(import.meta.dirname, 'ssf-receiver/main.ts'), { stdio: 'inherit' })
  const waiting = new Map<number, (answer: { readonly result?: unknown; readonly error?: string }) => void>()
  let last = 0
  let accessToken: string | undefined
  child.on('message', ({ id, ...answer }: { readonly id: number }) => {
    waiting.get(id)?.(answer)
    waiting.delete(id)
  })
  const receiver: Receiver = {
    do: (verb, order = {}) =>
      new Promise((resolve, reject) => {
        const id = ++last
        waiting.set(id, ({ result, error }) =>
          error === undefined ? resolve(result) : reject(new Error(error)),
        )
        child.send({ id, verb, ...order })
      }),
    call: (method, endpoint, { token = accessToken, ...order } = {}) =>
      receiver.do('call', {
        method,
        endpoint,
        headers: token === undefined || token === '' ? {} : { authorization: `Bearer ${token}` },
        ...order,
      }) as Promise<CallAnswer>,
    authorize: async (client, secret, scope = 'ssf.manage') => {
      const { access_token } = (await receiver.do('token', { client, secret, scope })) as {
        readonly access_token: string
      }
      accessToken = access_token
      return access_token
    },
    received: (count) => receiver.do('received', { count }) as Promise<readonly Arrived[]>,
    stop: async () => {
      const exited = once(child, 'exit')
      child.disconnect()
      await exited
    },
  }
  await receiver.do('reach', { origins })
  return receiver
}
