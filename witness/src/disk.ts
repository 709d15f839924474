/**
 * The disk as the log needs it, and nothing more, so that a test can put one in its place that fails at will. Each
 * method's comment is what the log relies on after a crash.
 * @module
 */

import { constants } from 'node:fs'
import { type FileHandle, mkdir, open, readFile, rename } from 'node:fs/promises'
import { dirname, join } from 'node:path'

export interface Disk {
  /** The whole of a small file; undefined when there is none. */
  read(path: string): Promise<Uint8Array | undefined>
  /** Puts `content` in the file's place, at once and for good: after a crash the old or the new is there, whole. */
  replace(path: string, content: Uint8Array): Promise<void>
  /** Makes an empty file, with its folders, and makes that durable. Leaves one that is there as it is. */
  create(path: string): Promise<void>
  /** Opens a file; undefined when there is none. `append` writes at the end, wherever that is by then. */
  open(path: string, mode: 'append' | 'overwrite' | 'read'): Promise<DiskFile | undefined>
}

export interface DiskFile {
  size(): Promise<number>
  /** Fewer bytes than asked for only at the end of the file. */
  read(offset: number, length: number): Promise<Uint8Array>
  /** Durable only after `sync`; a crash before may leave any part of it. `offset` counts unless the mode is `append`. */
  write(bytes: Uint8Array, offset: number): Promise<void>
  /** Makes what was written durable. When this throws, what is on the disk is unknown and this process must end. */
  sync(): Promise<void>
  truncate(size: number): Promise<void>
  close(): Promise<void>
}

/** The file system below `folder`. Whatever it makes, only this user may read. */
export function openDisk(folder: string): Disk {
  const at = (path: string): string => join(folder, path)
  return {
    read: (path) => readFile(at(path)).catch(undefinedIfAbsent),
    replace: async (path, content) => {
      const file = at(path)
      const temporary = await open(`${file}.new`, 'w', 0o600)
      try {
        await temporary.writeFile(content)
        await temporary.sync()
      } finally {
        await temporary.close()
      }
      await rename(`${file}.new`, file)
      await syncFolder(dirname(file))
    },
    create: async (path) => {
      const file = at(path)
      // Each folder's name is durable only once the folder above it is synced.
      const first = await mkdir(dirname(file), { recursive: true, mode: 0o700 })
      const handle = await open(file, constants.O_CREAT | constants.O_RDWR, 0o600)
      await handle.sync()
      await handle.close()
      const top = first === undefined ? dirname(file) : dirname(first)
      for (let each = dirname(file); ; each = dirname(each)) {
        await syncFolder(each)
        if (each === top) break
      }
    },
    open: async (path, mode) => {
      const handle = await open(at(path), flags[mode]).catch(undefinedIfAbsent)
      return handle && fileOf(handle)
    },
  }
}

const flags = {
  append: constants.O_APPEND | constants.O_RDWR,
  overwrite: constants.O_RDWR,
  read: constants.O_RDONLY,
} as const

function fileOf(handle: FileHandle): DiskFile {
  return {
    size: async () => (await handle.stat()).size,
    read: async (offset, length) => {
      const { buffer, bytesRead } = await handle.read(Buffer.allocUnsafe(length), 0, length, offset)
      return buffer.subarray(0, bytesRead)
    },
    write: async (bytes, offset) => {
      for (let done = 0; done < bytes.length; ) {
        const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, offset + done)
        done += bytesWritten
      }
    },
    sync: () => handle.datasync(),
    truncate: (size) => handle.truncate(size),
    close: () => handle.close(),
  }
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

function undefinedIfAbsent(error: NodeJS.ErrnoException): undefined {
  if (error.code === 'ENOENT') return undefined
  throw error
}
