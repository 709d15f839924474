/**
 * Goal: whoever follows the quick start of tokens bound to a certificate ends where it says. Method: its files and commands as they
 * stand there, by a system of its own, since another page's clients are not this one's; only ports are put in.
 */

import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type TestContext, test } from 'node:test'
import { promisify } from 'node:util'
import { startSystem } from '@countersign/cli/client'
import { root } from '../tools/source.ts'
import { blocksOf, compilePrograms, prepareFolder } from './blocks.ts'
import { findProgram } from './edge.ts'
import { freePort } from './ports.ts'

const page = 'docs/quickstart/certificate.md'
const start = 'docs/quickstart/README.md'
const path = `${join(root, 'node_modules/.bin')}:${process.env['PATH']}`

test('T158 T159 RFC 8705: by the page, a client with a certificate is let in, and its token without the certificate is not', async (t: TestContext) => {
  if (['openssl', 'curl', 'jq'].some((program) => findProgram(program) === undefined))
    return t.skip('openssl, curl or jq is missing')
  const folder = mkdtempSync(join(tmpdir(), 'countersign-certificate-'))
  const ends: (() => unknown)[] = [() => rmSync(folder, { recursive: true })]
  t.after(async () => {
    for (const end of ends.reverse()) await end()
  })
  const bash = async (commands: string): Promise<string> => {
    const local = commands.replaceAll('npx countersign', 'countersign')
    const options = { cwd: folder, env: { PATH: path, HOME: folder } }
    return (await promisify(execFile)('bash', ['-euo', 'pipefail', '-c', local], options)).stdout
  }
  const [issuerPort, serverPort] = [await freePort(), await freePort()]
  const here = (text: string): string =>
    text.replaceAll('8443', String(issuerPort)).replaceAll('3000', String(serverPort))
  const [make = '', use = ''] = blocksOf(page, 'sh')
  const [config = ''] = blocksOf(page, 'json')
  await bash(make)
  writeFileSync(join(folder, 'countersign.json'), here(config))
  const args = ['--config', join(folder, 'countersign.json')]
  const system = await startSystem(join(folder, '.countersign'), { args, logLevel: 'error' })
  ends.push(() => system.stop())

  prepareFolder(folder)
  const [enrol = ''] = blocksOf(start, 'sh')
  await bash(enrol)
  const [validator = ''] = blocksOf(start, 'ts')
  const { authority, sentinel } = system.ready
  writeFileSync(
    join(folder, 'validator.ts'),
    validator.replace('http://localhost:8402', authority.url).replace('http://localhost:8406', sentinel.url),
  )
  const [server = ''] = blocksOf(page, 'ts')
  writeFileSync(join(folder, 'server.ts'), here(server))
  compilePrograms(folder)
  const child = spawn(process.execPath, ['server.ts'], { cwd: folder, stdio: ['ignore', 'pipe', 'inherit'] })
  ends.push(() => child.kill())
  await once(createInterface(child.stdout), 'line')

  const answers = await bash(here(use))
  const said = [...use.matchAll(/# (\d+) ?(\w*)$/gm)].map(([, status, reason]) => [status, reason])
  const met = answers
    .split(/(?=HTTP\/1\.1 )/)
    .map((answer) => [
      /^HTTP\S* (\d+)/.exec(answer)?.[1],
      /^x-countersign-reason: (\w+)/im.exec(answer)?.[1] ?? '',
    ])
  assert.equal(said.length, 2)
  assert.deepEqual(met, said, answers)
})
