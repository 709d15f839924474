/**
 * Runs programs that stand in a page, as they stand there. Only the port is another, since somebody may have that of the page; and
 * whatever a program asks for over TLS is answered by a provider on loopback, which the test plays and only that program believes.
 * @module
 */

import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { type IncomingMessage, request } from 'node:http'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { root } from '../tools/source.ts'
import { freePort } from './ports.ts'

/** The code blocks of a page in one language, in order. */
export function blocksOf(page: string, language: string): readonly string[] {
  const text = readFileSync(join(root, page), 'utf8')
  return [...text.matchAll(/^```(\w+)\n(.*?)^```$/gms)]
    .filter(([, written]) => written === language)
    .map(([, , code = '']) => code)
}

/** Makes a folder one in which programs find our packages. */
export function prepareFolder(folder: string): void {
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }')
}

/** Compiles every program below `folder` with the types of whatever it imports; rejects with what the compiler says. */
export function compilePrograms(folder: string): void {
  const options = {
    noEmit: true,
    noUnusedLocals: false,
    noUnusedParameters: false,
    types: ['node'],
    typeRoots: [join(root, 'node_modules/@types')],
  }
  const tsconfig = { extends: join(root, 'tsconfig.json'), compilerOptions: options, include: ['**/*.ts'] }
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(tsconfig))
  try {
    execFileSync(join(root, 'node_modules/.bin/tsc'), ['--project', folder], { encoding: 'utf8' })
  } catch (error) {
    throw new Error((error as { readonly stdout?: string }).stdout ?? String(error))
  }
}

/** An identity provider on loopback, which answers for every host of the names given. */
export interface Provider {
  readonly port: number
  readonly certificateFile: string
  /** What is answered, by host and path: `id.example/jwks`. */
  readonly documents: Map<string, object>
  stop(): Promise<void>
}

export async function startProvider(folder: string, hosts: readonly string[]): Promise<Provider> {
  const [keyFile, certificateFile] = [join(folder, 'tls-key.pem'), join(folder, 'tls.pem')]
  const names = hosts.map((host) => `DNS:${host}`).join(',')
  const subject = ['-subj', '/CN=provider', '-addext', `subjectAltName=${names}`]
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2']
  const files = ['-keyout', keyFile, '-out', certificateFile]
  execFileSync('openssl', ['req', '-x509', ...kind, ...subject, ...files], { stdio: 'ignore' })
  const documents = new Map<string, object>()
  const identity = { key: readFileSync(keyFile), cert: readFileSync(certificateFile) }
  const server: Server = createServer(identity, ({ headers, url }, answer) => {
    const document = documents.get(`${headers.host}${url}`)
    answer.writeHead(document === undefined ? 404 : 200, { 'content-type': 'application/json' })
    answer.end(JSON.stringify(document ?? {}))
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    certificateFile,
    documents,
    stop: async () => {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

/** A program of a page that runs. */
export interface Program {
  readonly port: number
  stop(): Promise<void>
}

/** Loaded before the program: whoever it connects to by TLS, it reaches the provider, whose name is checked as always. */
const toProvider = (port: number): string => `
  import tls from 'node:tls'
  const connect = tls.connect
  tls.connect = (options, ...others) =>
    connect({ ...options, servername: options.servername || options.host, host: '127.0.0.1', port: ${port} }, ...others)
`

/** Starts a program in a folder of its own, and waits until it says that it listens. */
export async function startProgram(cwd: string, code: string, provider: Provider): Promise<Program> {
  const port = await freePort()
  mkdirSync(cwd, { recursive: true })
  writeFileSync(join(cwd, 'server.ts'), code.replaceAll('3000', String(port)))
  const preload = `data:text/javascript,${encodeURIComponent(toProvider(provider.port))}`
  const child: ChildProcess = spawn(process.execPath, ['--import', preload, 'server.ts'], {
    cwd,
    env: { ...process.env, NODE_EXTRA_CA_CERTS: provider.certificateFile },
    // They warn there of what they refuse, and that they are weakened.
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  if (child.stdout === null) throw new Error('a program without output')
  const gone = once(child, 'exit')
  const lines = createInterface(child.stdout)
  const [line] = await Promise.race([once(lines, 'line'), gone.then(() => ['it ended'])])
  if (line !== `http://localhost:${port}`) throw new Error(`the program did not start: ${line}`)
  return {
    port,
    stop: async () => {
      child.kill()
      await gone
    },
  }
}

/** The status that a request is answered with; header names and values in turn, as they go over the wire. */
export async function statusOf({ port }: Program, path: string, headers: readonly string[]): Promise<number> {
  const target = { host: 'localhost', port, path, agent: false } as const
  const outgoing = request({ ...target, headers: ['Host', 'localhost', ...headers] })
  outgoing.end()
  const [answer] = (await once(outgoing, 'response')) as [IncomingMessage]
  answer.resume()
  return answer.statusCode ?? 0
}
