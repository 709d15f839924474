/**
 * The application of test/plain-provider as a process: as it is, or moved by the change that docs/bring-your-own-issuer.md
 * shows.
 * @module
 */

import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { root } from '../tools/source.ts'

/** A running provider, and how to reach it where it says that it is. */
export interface Application {
  readonly fetch: typeof fetch
  stop(): Promise<void>
}

export const plain = readFileSync(join(root, 'test/plain-provider/main.ts'), 'utf8')

/** Runs a source as a program of its own, in a new folder, with each place that it names where the test has it. */
export async function startApplication(
  home: string,
  program: string,
  issuer: string,
  places: readonly (readonly [string, string])[],
): Promise<Application> {
  mkdirSync(home)
  symlinkSync(join(root, 'node_modules'), join(home, 'node_modules'))
  writeFileSync(join(home, 'package.json'), '{"type": "module"}')
  writeFileSync(
    join(home, 'main.ts'),
    places.reduce((all, [from, to]) => all.replaceAll(from, to), program),
  )
  const child: ChildProcess = spawn(process.execPath, ['main.ts'], {
    cwd: home,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const complaints = child.stderr ? text(child.stderr) : Promise.resolve('')
  const line = await Promise.race([
    once(child.stdout as NonNullable<typeof child.stdout>, 'data').then(String),
    once(child, 'exit').then(async () => assert.fail(await complaints)),
  ])
  const { port } = JSON.parse(line) as { readonly port: number }
  return {
    // What ends TLS in front of it says where the request was meant to go.
    fetch: (input, init) => {
      const request = new Request(input, init)
      const headers = new Headers(init?.headers ?? request.headers)
      headers.set('x-forwarded-proto', 'https')
      headers.set('x-forwarded-host', new URL(issuer).host)
      return fetch(request.url.replace(issuer, `http://127.0.0.1:${port}`), {
        ...init,
        headers,
        redirect: 'manual',
      })
    },
    stop: async () => {
      child.kill()
      await once(child, 'exit')
    },
  }
}

/** The lines that the documentation takes out and puts in, each hunk where its own lines stand. */
export function moved(program: string): {
  readonly program: string
  readonly added: number
  readonly removed: number
} {
  const page = readFileSync(join(root, 'docs/bring-your-own-issuer.md'), 'utf8')
  const [, diff = ''] = /```diff\n([\s\S]*?)```/.exec(page) ?? []
  const counts = { added: 0, removed: 0 }
  const changed = diff.split('@@\n').reduce((before, hunk) => {
    const lines = hunk.split('\n').slice(0, -1)
    const side = (own: string): string =>
      lines.flatMap((line) => ([' ', own].includes(line[0] ?? ' ') ? [`${line.slice(1)}\n`] : [])).join('')
    assert.ok(before.includes(side('-')), `the application has these lines:\n${side('-')}`)
    counts.added += lines.filter((line) => line.startsWith('+')).length
    counts.removed += lines.filter((line) => line.startsWith('-')).length
    return before.replace(side('-'), () => side('+'))
  }, program)
  return { program: changed, ...counts }
}
