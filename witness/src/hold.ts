/**
 * One witness per folder: two would write one log, and each would stop at the other's first entry. The kernel keeps
 * the name and gives it back when the process ends, however it ends.
 * @module
 */

import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { realpathSync } from 'node:fs'
import { createServer } from 'node:net'

/** Takes the folder for this process and gives back what lets go of it. Throws when another process has it. */
export async function holdFolder(folder: string): Promise<() => Promise<void>> {
  // Only Linux has names that vanish with their holder. Elsewhere the log's own compare-and-set still stops the second.
  if (process.platform !== 'linux') return async () => {}
  const name = createHash('sha256').update(realpathSync(folder)).digest('base64url')
  const server = createServer((socket) => socket.destroy())
  server.listen(`\0countersign-witness-${name}`)
  try {
    await once(server, 'listening')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error
    throw new Error(`another witness has ${folder} open`)
  }
  server.unref()
  return async () => {
    const closed = once(server, 'close')
    server.close()
    await closed
  }
}
