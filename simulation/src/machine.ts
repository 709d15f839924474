/**
 * Node as the simulated processes see it. While a simulated process is the current one, timers, clocks, files, sockets,
 * `fetch`, randomness, keys, child processes and SQLite are those of its world; the rest of this process, and everything
 * outside a simulated process, keeps the real ones. So production code runs as it is, with no seam made for this.
 *
 * Named imports of built-in modules follow, since Node can be told to look at the modules anew. Two packages that speak to
 * the world by themselves are replaced as they are imported: `fastify` by `fastify.ts`, `age-encryption` by `age.ts`.
 * @module
 */

import childProcess from 'node:child_process'
import crypto from 'node:crypto'
import fs from 'node:fs'
import fsPromises from 'node:fs/promises'
import nodeModule, { registerHooks } from 'node:module'
import net from 'node:net'
import timersPromises from 'node:timers/promises'
import { promisify } from 'node:util'
import { fileSystem } from './files.ts'
import { privateKeyOf, publicKeyOf } from './keys.ts'
import { createServer, simulatedFetch } from './sockets.ts'
import { type Ticket, timers } from './timers.ts'
import { Halt, theWorld, worldOfNow } from './world.ts'

let isInstalled = false

/** Puts it all in place, once. Production modules are imported after this. */
export function installMachine(): void {
  if (isInstalled) return
  isInstalled = true
  replacePackages()
  patchTimers()
  patchClocks()
  patchCrypto()
  for (const [name, simulated] of Object.entries(fileSystem.sync)) divert(fs, name, simulated)
  for (const [name, simulated] of Object.entries(fileSystem.promises)) divert(fsPromises, name, simulated)
  patchNetwork()
  patchProcess()
  nodeModule.syncBuiltinESMExports()
}

type Anything = (...args: never[]) => unknown

/** Lets a function of Node's do what `simulated` does, while a simulated process is the current one. */
function divert(target: object, name: string, simulated: Anything): void {
  const real = (target as Record<string, Anything>)[name] as Anything
  const diverted = function (this: unknown, ...args: never[]) {
    return worldOfNow() === undefined ? Reflect.apply(real, this, args) : simulated(...args)
  }
  replace(target, name, Object.assign(diverted, real))
}

function replace(target: object, name: string, value: unknown): void {
  Object.defineProperty(target, name, { value, writable: true, configurable: true, enumerable: true })
}

function replacePackages(): void {
  const stands: Readonly<Record<string, string>> = {
    fastify: new URL('./fastify.ts', import.meta.url).href,
    'age-encryption': new URL('./age.ts', import.meta.url).href,
    // The one module of Node's whose named imports do not follow.
    'node:sqlite': new URL('./database.ts', import.meta.url).href,
  }
  const ours = new URL('.', import.meta.url).href
  registerHooks({
    resolve: (specifier, context, next) => {
      const url = context.parentURL?.startsWith(ours) ? undefined : stands[specifier]
      return url === undefined ? next(specifier, context) : { url, shortCircuit: true }
    },
  })
}

function patchTimers(): void {
  divert(globalThis, 'setTimeout', timers.setTimeout)
  divert(globalThis, 'setInterval', timers.setInterval)
  divert(globalThis, 'setImmediate', timers.setImmediate)
  for (const name of ['clearTimeout', 'clearInterval', 'clearImmediate'] as const) {
    const real = globalThis[name] as (timer: unknown) => void
    replace(globalThis, name, (timer: Ticket | undefined) => {
      if (timer !== undefined && timers.isOurs(timer)) timers.clear(timer)
      else real(timer)
    })
  }
  divert(timersPromises, 'setTimeout', timers.wait)
  divert(AbortSignal, 'timeout', timers.timeoutSignal)
  divert(AbortSignal, 'any', timers.anySignal as Anything)
}

function patchClocks(): void {
  divert(Date, 'now', () => theWorld().wallClock())
  divert(performance, 'now', () => theWorld().monotonicClock())
  divert(Math, 'random', () => theWorld().random.fraction())
}

function patchCrypto(): void {
  divert(crypto, 'randomBytes', ((count: number) => theWorld().random.bytes(count)) as Anything)
  divert(crypto, 'randomUUID', () => {
    const hex = theWorld().random.bytes(16).toString('hex')
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20)}`
  })
  divert(crypto, 'generateKeyPairSync', ((kind: string) => theWorld().keys.make(kind)) as Anything)
  const { generateKeyPair } = crypto
  const generate = promisify(generateKeyPair) as unknown as (
    kind: string,
    options: object,
  ) => Promise<unknown>
  replace(
    crypto,
    'generateKeyPair',
    Object.assign((...args: Parameters<typeof generateKeyPair>) => generateKeyPair(...args), {
      // What `promisify` makes of it.
      [promisify.custom]: async (kind: string, options: object) => {
        const world = worldOfNow()
        if (world === undefined) return generate(kind, options)
        await timers.wait(world.random.between(1, 5))
        return world.keys.make(kind)
      },
    }),
  )
  divert(crypto, 'sign', ((...args: Parameters<ReturnType<typeof theWorld>['keys']['sign']>) =>
    theWorld().keys.sign(...args)) as Anything)
  divert(crypto, 'verify', ((...args: Parameters<ReturnType<typeof theWorld>['keys']['verify']>) =>
    theWorld().keys.verify(...args)) as Anything)
  divert(crypto, 'createVerify', ((algorithm: string) => {
    const pieces: Buffer[] = []
    const verifier = {
      update: (piece: string | Uint8Array) => {
        pieces.push(Buffer.from(piece as Uint8Array))
        return verifier
      },
      verify: (key: crypto.KeyObject, signature: Uint8Array) =>
        theWorld().keys.verify(algorithm, Buffer.concat(pieces), key, signature),
    }
    return verifier
  }) as Anything)
  divertJwk('createPublicKey', publicKeyOf)
  divertJwk('createPrivateKey', privateKeyOf)
}

/** Keys given as objects are read once; any other form by Node. */
function divertJwk(name: 'createPublicKey' | 'createPrivateKey', simulated: Anything): void {
  const real = crypto[name] as unknown as (input: unknown) => unknown
  replace(crypto, name, (input: { format?: string } | crypto.KeyObject) => {
    const isKnown = input instanceof crypto.KeyObject ? name === 'createPublicKey' : input.format === 'jwk'
    return worldOfNow() !== undefined && isKnown ? simulated(input as never) : real(input)
  })
}

function patchNetwork(): void {
  divert(net, 'createServer', createServer as Anything)
  divert(net, 'createConnection', ((path: string) => {
    const { network, process } = theWorld()
    return network.connect(path, process)
  }) as Anything)
  replace(
    net,
    'Socket',
    new Proxy(net.Socket, {
      construct: (real, args: [{ readonly fd?: number }?], target) =>
        (worldOfNow()?.inherited(args[0]?.fd) ?? Reflect.construct(real, args, target)) as object,
    }),
  )
  divert(globalThis, 'fetch', simulatedFetch as Anything)
  divert(childProcess, 'spawn', ((_file: string, args: readonly string[]) =>
    theWorld().spawn(args)) as Anything)
}

function patchProcess(): void {
  // Each validator of each world would say how it is weakened.
  divert(process, 'emitWarning', () => {})
  divert(process, 'exit', () => {
    theWorld().process.end()
    throw new Halt()
  })
}
