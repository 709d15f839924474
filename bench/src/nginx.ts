/**
 * Debian's nginx in front of a page of its own: once open, and once behind each gateway, set up by the file that
 * docs/proxies/nginx.md shows.
 * @module
 */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'

export interface Nginx {
  /** Where it lets everybody through. */
  readonly alone: string
  /** Where it asks our gateway before. */
  readonly countersign: string
  /** Where it asks the bare one. */
  readonly bare: string
  stop(): Promise<void>
}

const page = new URL('../../docs/proxies/nginx.md', import.meta.url)

/** Why there is nothing to measure, if so. */
export function missingNginx(): string | undefined {
  return findNginx() === undefined ? 'nginx is not installed (tools/debian.sh): skipped' : undefined
}

function findNginx(): string | undefined {
  const folders = ['/usr/sbin', '/usr/local/sbin', '/usr/bin', '/usr/local/bin']
  return folders.map((folder) => join(folder, 'nginx')).find((file) => existsSync(file))
}

/** `urls`: what each of the two gateways answers at. */
export async function startNginx(
  parent: string,
  urls: { readonly countersign: string; readonly bare: string },
): Promise<Nginx> {
  const folder = join(parent, 'nginx')
  const [alone = 0, countersign = 0, bare = 0] = await freePorts(3)
  const application = `http://unix:${folder}/application.sock`
  const guarded = (name: string, url: string, port: number): string =>
    applicationFile()
      .replaceAll('countersign', name)
      .replaceAll('127.0.0.1:8404', new URL(url).host)
      .replaceAll('http://127.0.0.1:3000', application)
      .replaceAll(':8000', `:${port}`)
      .replaceAll('$challenge_of_403', `$challenge_of_403_${name}`)
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((kind) => `${kind}_temp_path ${folder}/${kind};`)
    .join(' ')
  const config = `daemon off; worker_processes 1; pid ${folder}/pid; error_log stderr;
    events {}
    http {
      access_log off; ${temporary}
      keepalive_requests 1000000;
      server { listen unix:${folder}/application.sock; location / { return 200 "the application"; } }
      server {
        listen 127.0.0.1:${alone};
        large_client_header_buffers 4 72k;
        location / { proxy_set_header Host $host; proxy_pass ${application}; }
      }
      ${guarded('countersign', urls.countersign, countersign)}
      ${guarded('bare', urls.bare, bare)}
    }`
  mkdirSync(folder, { mode: 0o700 })
  writeFileSync(join(folder, 'nginx.conf'), config)
  // As root it would work as somebody else, who has no way into this folder.
  const user = process.getuid?.() === 0 ? ['-g', 'user root;'] : []
  const child = spawn(findNginx() ?? '', ['-c', join(folder, 'nginx.conf'), '-e', 'stderr', ...user], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  const ended = once(child, 'exit').then(() => Promise.reject(new Error('nginx did not start')))
  await Promise.race([listens(bare), ended])
  const url = (port: number): string => `http://127.0.0.1:${port}/`
  return {
    alone: url(alone),
    countersign: url(countersign),
    bare: url(bare),
    stop: async () => {
      child.kill('SIGTERM')
      await ended.catch(() => {})
    },
  }
}

function applicationFile(): string {
  const [, block] = /^```nginx\n(.*?)^```/ms.exec(readFileSync(page, 'utf8')) ?? []
  if (block === undefined) throw new Error('docs/proxies/nginx.md shows no configuration')
  return block
}

async function freePorts(count: number): Promise<readonly number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'))
  await Promise.all(servers.map((server) => once(server, 'listening')))
  const ports = servers.map((server) => (server.address() as AddressInfo).port)
  await Promise.all(servers.map((server) => once(server.close(), 'close')))
  return ports
}

const POLL_MILLISECONDS = 20

/** Settles once somebody answers there. */
async function listens(port: number): Promise<void> {
  for (;;) {
    const socket = connect(port, '127.0.0.1')
    const isThere = await once(socket, 'connect').then(
      () => true,
      () => false,
    )
    socket.destroy()
    if (isThere) return
    await delay(POLL_MILLISECONDS)
  }
}
