/**
 * Goal: a data folder gets ports that nobody else has and keeps them, since issuers are named by them; whatever cannot
 * be had is said so in one sentence. Method: real listeners on loopback.
 */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { writePublic } from './files.ts'
import { findPorts, listeners, portsFileIn } from './ports.ts'

const folder = mkdtempSync(join(tmpdir(), 'countersign-ports-'))
after(() => rmSync(folder, { recursive: true }))

/** A folder of an earlier start with free ports. */
async function earlier(
  name: string,
): Promise<{ data: string; ports: Awaited<ReturnType<typeof findPorts>> }> {
  const data = join(folder, name)
  const ports = await findPorts(data, '0')
  writePublic(portsFileIn(data), ports)
  return { data, ports }
}

test('free ports are different ones', async () => {
  const ports = await findPorts(join(folder, 'new'), '0')
  assert.deepEqual(Object.keys(ports), listeners)
  assert.equal(new Set(Object.values(ports)).size, listeners.length)
})

test('ports stay as they were, whether asked for by their first, by 0 or not at all', async () => {
  const { data, ports } = await earlier('kept')
  for (const asked of [undefined, '0', String(ports.consumer)])
    assert.deepEqual(await findPorts(data, asked), ports)
})

test('a folder is not moved to another port: its charter and tokens name the old one', async () => {
  const { data, ports } = await earlier('moved')
  const other = ports.consumer === 9000 ? '9100' : '9000'
  await assert.rejects(findPorts(data, other), {
    message: `${data} was made with port ${ports.consumer}, which its charter and its tokens name`,
  })
})

test('a port that somebody holds is named', async () => {
  const { data, ports } = await earlier('taken')
  const holder = createServer().listen(ports.gateway, '127.0.0.1')
  await once(holder, 'listening')
  await assert.rejects(findPorts(data, undefined), {
    message: `in use already: port ${ports.gateway}; ${data} keeps its ports for good`,
  })
  const { port } = holder.address() as AddressInfo
  await assert.rejects(findPorts(join(folder, 'other'), String(port)), {
    message: new RegExp(`^in use already: port ${port}[\\d, ]*; --port 0 picks free ones$`),
  })
  await once(holder.close(), 'close')
})

test('what is no port is refused', async () => {
  for (const asked of ['', '-1', '8400.5', '0x20', 'http', ' 80', '65530', '99999', '123456'])
    await assert.rejects(findPorts(join(folder, 'none'), asked), {
      message: `--port takes 0, or the first of 7 ports in a row, not ${asked}`,
    })
})
