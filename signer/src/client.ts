/**
 * Starts a realm's signer as a confined child process and speaks to it. Whoever calls holds the only end of the socket.
 * @module
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { open } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Peer, speak } from '@countersign/lines'
import type { TrustDocuments } from '@countersign/validator/trust'
import { allowanceOf, confine, type SignerFiles } from './confine.ts'
import type { SigningRequest } from './prepare.ts'
import type {
  GeneratedKey,
  KeyCounts,
  PreparedAnswer,
  Problem,
  SignedAnswer,
  SignerDescription,
} from './signer.ts'

export { createSoftToken, missingSoftHsm, type SoftToken } from './softhsm.ts'
export { isTokenUri } from './token-uri.ts'
export type {
  GeneratedKey,
  KeyCounts,
  PreparedAnswer,
  Problem,
  SignedAnswer,
  SignerDescription,
  SignerFiles,
  SigningRequest,
}

/** Calls reject with `LineError`; `disconnected` when the process is gone. */
export interface SignerProcess {
  readonly pid: number
  /** Who it was when it started. */
  readonly description: SignerDescription
  /** Settles when the process has ended. */
  readonly exited: Promise<void>
  /** Gives the version of the manifest that is in force now. */
  trust(documents: TrustDocuments): Promise<number>
  prepare(requests: readonly SigningRequest[]): Promise<readonly (PreparedAnswer | Problem)[]>
  sign(
    requests: readonly { readonly id: number; readonly receipt: string }[],
  ): Promise<readonly (SignedAnswer | Problem)[]>
  generate(request: object): Promise<GeneratedKey>
  describe(): Promise<SignerDescription>
  counters(): Promise<readonly KeyCounts[]>
  /** Ends the process in order; by force if that takes too long. */
  stop(): Promise<void>
  /** Ends the process at once. */
  kill(): void
}

/** Longer than a signer under full load takes; one that takes more hangs. */
const ANSWER_MILLISECONDS_MAX = 5000
/**
 * For a start, and for the trust that follows it, with which nobody waits for a token: opening a keystore is work by design,
 * and a busy machine takes many times as long. One that ends instead is told of at once, by its socket.
 */
const START_MILLISECONDS_MAX = 30_000
const STOP_MILLISECONDS_MAX = 2000

/** Starts a signer. Rejects when it does not come up; why stands on its standard error, which is ours. */
export async function startSigner(files: SignerFiles): Promise<SignerProcess> {
  const child = spawnConfined(files)
  const exited = once(child, 'exit').then(() => {})
  const peer = speak(child.stdio[3] as Socket)
  const call = <Result>(
    method: string,
    params: object = {},
    milliseconds = ANSWER_MILLISECONDS_MAX,
  ): Promise<Result> => peer.call<Result>(method, params, milliseconds)
  const description = await call<SignerDescription>('describe', {}, START_MILLISECONDS_MAX).catch(
    async (error: Error) => {
      await stopChild(child, peer, exited)
      throw new Error(`the signer of ${files.realm} did not start`, { cause: error })
    },
  )
  return {
    pid: child.pid as number,
    description,
    exited,
    trust: async ({ charters, manifest }) =>
      (await call<{ version: number }>('trust', { charters, manifest }, START_MILLISECONDS_MAX)).version,
    prepare: async (requests) =>
      (await call<{ prepared: readonly (PreparedAnswer | Problem)[] }>('prepare', { requests })).prepared,
    sign: async (requests) =>
      (await call<{ signed: readonly (SignedAnswer | Problem)[] }>('sign', { requests })).signed,
    generate: async (request) => {
      const made = await call<GeneratedKey>('generate', request)
      await syncFolders(files.folder)
      return made
    },
    describe: () => call('describe'),
    counters: async () => (await call<{ keys: readonly KeyCounts[] }>('counters')).keys,
    stop: () => stopChild(child, peer, exited),
    kill: () => void child.kill('SIGKILL'),
  }
}

function spawnConfined(files: SignerFiles): ChildProcess {
  const { realm, keystore, folder, passphraseFile, trustAnchor, signaturesPerSecondMax } = files
  const { file, args, env } = confine(
    fileURLToPath(new URL('./main.ts', import.meta.url)),
    [
      ...['--realm', realm, '--keystore', keystore, '--folder', folder],
      ...['--passphrase-file', passphraseFile, '--trust-anchor', trustAnchor],
      ...(signaturesPerSecondMax === undefined
        ? []
        : ['--signatures-per-second', String(signaturesPerSecondMax)]),
    ],
    allowanceOf(files),
  )
  return spawn(file, args, { env, cwd: '/', stdio: ['ignore', 'ignore', 'inherit', 'pipe'] })
}

/** The signer may not sync a folder, and without it the names of its new files may not survive a loss of power. */
async function syncFolders(own: string): Promise<void> {
  for (const folder of [own, join(own, 'counters')]) {
    const handle = await open(folder, 'r')
    await handle.sync().finally(() => handle.close())
  }
}

async function stopChild(child: ChildProcess, peer: Peer, exited: Promise<void>): Promise<void> {
  peer.close()
  const late = setTimeout(() => child.kill('SIGKILL'), STOP_MILLISECONDS_MAX)
  await exited
  clearTimeout(late)
}
