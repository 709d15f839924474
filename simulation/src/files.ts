/**
 * Node's file system on simulated disks: `/sim/HOST/…` lies on the disk of that host, every other path is the real one.
 * Syncing takes time, and a process may die while it waits; so may one that waits in place for a write that is durable
 * when it returns, with the write torn.
 * @module
 */

import fs, { constants, type Stats } from 'node:fs'
import fsPromises from 'node:fs/promises'
import { type Disk, type FileFlags, fault, type SimulatedFile } from './disk.ts'
import { timers } from './timers.ts'
import { checkAlive, Halt, theWorld } from './world.ts'

/** Disks by the name of their host; `etc` holds what everybody may read. */
export const disks = new Map<string, Disk>()

/** Descriptors from here on are ours. */
const FIRST_DESCRIPTOR = 1_000_000

interface Opened {
  readonly path: string
  readonly disk: Disk
  /** Undefined: a folder. */
  readonly file: SimulatedFile | undefined
  readonly flags: FileFlags
  position: number
}

const opened = new Map<number, Opened>()
let nextDescriptor = FIRST_DESCRIPTOR

/** Forgets what an earlier world left open. */
export function closeAllFiles(): void {
  opened.clear()
}

function diskOf(path: unknown): Disk | undefined {
  if (typeof path !== 'string' || !path.startsWith('/sim/')) return undefined
  return disks.get(path.split('/', 3)[2] as string)
}

function open(path: string, disk: Disk, flags: string | number = 'r', mode = 0o666): Opened {
  checkAlive()
  const parsed = parseFlags(flags)
  const file = disk.isFolder(path) ? undefined : disk.open(path, parsed, mode)
  return { path, disk, file, flags: parsed, position: 0 }
}

function fileOf({ file, path }: Opened): SimulatedFile {
  if (file === undefined) throw fault('EISDIR', path)
  return file
}

function write(target: Opened, bytes: Uint8Array, position: number | null | undefined): number {
  checkAlive()
  const file = fileOf(target)
  const offset = target.flags.append ? file.size : (position ?? target.position)
  if (target.flags.sync && dies()) {
    file.write(offset, bytes.subarray(0, theWorld().random.integer(0, bytes.length)))
    file.sync()
    theWorld().process.end()
    throw new Halt()
  }
  file.write(offset, bytes)
  if (position === null || position === undefined) target.position = offset + bytes.length
  if (target.flags.sync) file.sync()
  return bytes.length
}

/** Whether the process was to die at this write. */
function dies(): boolean {
  const { process } = theWorld()
  if (process.dieAtWrite === undefined) return false
  process.dieAtWrite--
  return process.dieAtWrite <= 0
}

function read(source: Opened, length: number, position: number | null | undefined): Buffer {
  checkAlive()
  const offset = position ?? source.position
  const bytes = fileOf(source).read(offset, length)
  if (position === null || position === undefined) source.position += bytes.length
  return bytes
}

async function sync(target: Opened): Promise<void> {
  checkAlive()
  await timers.wait(theWorld().random.between(0.5, 10))
  checkAlive()
  if (target.file === undefined) target.disk.syncFolder(target.path)
  else target.file.sync()
}

function statOf(path: string, disk: Disk): Stats {
  const file = disk.file(path)
  if (file === undefined && !disk.isFolder(path)) throw fault('ENOENT', path)
  return {
    size: file?.size ?? 0,
    mode: file?.mode ?? 0o700,
    uid: process.getuid?.() ?? 0,
    isFile: () => file !== undefined,
    isDirectory: () => file === undefined,
    isSocket: () => false,
    isSymbolicLink: () => false,
  } as Stats
}

function parseFlags(flags: string | number): FileFlags {
  if (typeof flags === 'number') {
    const has = (bit: number): boolean => (flags & bit) !== 0
    return {
      read: !has(constants.O_WRONLY),
      write: has(constants.O_WRONLY) || has(constants.O_RDWR),
      append: has(constants.O_APPEND),
      create: has(constants.O_CREAT),
      exclusive: has(constants.O_EXCL),
      truncate: has(constants.O_TRUNC),
      sync: has(constants.O_DSYNC) || has(constants.O_SYNC),
    }
  }
  return {
    read: flags.includes('r') || flags.includes('+'),
    write: !flags.startsWith('r') || flags.includes('+'),
    append: flags.startsWith('a'),
    create: !flags.startsWith('r'),
    exclusive: flags.includes('x'),
    truncate: flags.startsWith('w'),
    sync: flags.includes('s'),
  }
}

type Encoding = string | { readonly encoding?: string; readonly mode?: number; readonly flag?: string } | null

function decodeAs(bytes: Buffer, options: Encoding | undefined): Buffer | string {
  const encoding = typeof options === 'string' ? options : options?.encoding
  return encoding ? bytes.toString(encoding as BufferEncoding) : bytes
}

function settle<Result>(act: () => Result): Promise<Result> {
  try {
    return Promise.resolve(act())
  } catch (error) {
    return Promise.reject(error)
  }
}

class Handle {
  readonly #opened: Opened
  constructor(target: Opened) {
    this.#opened = target
  }
  stat = () => settle(() => statOf(this.#opened.path, this.#opened.disk))
  read = (buffer: Buffer, offset: number, length: number, position: number | null) =>
    settle(() => {
      const bytes = read(this.#opened, length, position)
      buffer.set(bytes, offset)
      return { bytesRead: bytes.length, buffer }
    })
  write = (buffer: Uint8Array, offset = 0, length = buffer.length - offset, position?: number | null) =>
    settle(() => ({
      bytesWritten: write(this.#opened, buffer.subarray(offset, offset + length), position),
      buffer,
    }))
  writeFile = (content: string | Uint8Array) =>
    settle(() => void write(this.#opened, Buffer.from(content as Uint8Array), undefined))
  readFile = (options?: Encoding) =>
    settle(() => decodeAs(read(this.#opened, fileOf(this.#opened).size, 0), options))
  sync = () => sync(this.#opened)
  datasync = () => sync(this.#opened)
  truncate = (size = 0) => settle(() => fileOf(this.#opened).truncate(size))
  chmod = (mode: number) =>
    settle(() => {
      fileOf(this.#opened).mode = mode
    })
  close = () => settle(() => {})
}

function readFile(path: string | number, disk: Disk | undefined, options?: Encoding): Buffer | string {
  checkAlive()
  const source = typeof path === 'number' ? opened.get(path) : open(path, disk as Disk)
  if (source === undefined) throw fault('EBADF', String(path))
  return decodeAs(fileOf(source).read(), options)
}

function writeFile(path: string, disk: Disk, content: string | Uint8Array, options?: Encoding): void {
  const { mode = 0o666, flag = 'w' } = typeof options === 'object' && options !== null ? options : {}
  write(open(path, disk, flag, mode), Buffer.from(content as Uint8Array), undefined)
}

function makeFolder(path: string, disk: Disk): string | undefined {
  checkAlive()
  return disk.makeFolder(path)
}

function remove(path: string, disk: Disk, options: { readonly force?: boolean } = {}): void {
  checkAlive()
  if (!disk.remove(path) && !options.force) throw fault('ENOENT', path)
}

function rename(from: string, disk: Disk, to: string): void {
  checkAlive()
  disk.rename(from, to)
}

/** Functions of a path: on our disks, or else Node's own. */
function onPath<Rest extends unknown[]>(
  real: (...args: never[]) => unknown,
  simulated: (path: string, disk: Disk, ...rest: Rest) => unknown,
) {
  return (path: string, ...rest: Rest): unknown => {
    const disk = diskOf(path)
    return disk === undefined ? real(...([path, ...rest] as never[])) : simulated(path, disk, ...rest)
  }
}

function onPathLater<Rest extends unknown[]>(
  real: (...args: never[]) => unknown,
  simulated: (path: string, disk: Disk, ...rest: Rest) => unknown,
) {
  return onPath(real, (path, disk, ...rest: Rest) => settle(() => simulated(path, disk, ...rest)))
}

function onDescriptor<Rest extends unknown[]>(
  real: (...args: never[]) => unknown,
  simulated: (target: Opened, ...rest: Rest) => unknown,
) {
  return (descriptor: number, ...rest: Rest): unknown => {
    const target = opened.get(descriptor)
    return target === undefined ? real(...([descriptor, ...rest] as never[])) : simulated(target, ...rest)
  }
}

const real = { ...fs }
const realPromises = { ...fsPromises }

export const fileSystem = {
  sync: {
    openSync: onPath(real.openSync, (path, disk, flags?: string | number, mode?: number) => {
      const descriptor = nextDescriptor++
      opened.set(descriptor, open(path, disk, flags, mode))
      return descriptor
    }),
    closeSync: (descriptor: number) => {
      if (!opened.delete(descriptor) && descriptor < FIRST_DESCRIPTOR) real.closeSync(descriptor)
    },
    readSync: onDescriptor(
      real.readSync,
      (source, buffer: Uint8Array, offset = 0, length = buffer.length, position?: number | null) => {
        const bytes = read(source, length, position)
        buffer.set(bytes, offset)
        return bytes.length
      },
    ),
    writeSync: onDescriptor(
      real.writeSync,
      (target, bytes: Uint8Array, offset = 0, length = bytes.length - offset, position?: number | null) =>
        write(target, bytes.subarray(offset, offset + length), position),
    ),
    fsyncSync: onDescriptor(real.fsyncSync, (target) => target.file?.sync()),
    fstatSync: onDescriptor(real.fstatSync as never, (target) => statOf(target.path, target.disk)),
    statSync: onPath(real.statSync as never, statOf),
    lstatSync: onPath(real.lstatSync as never, statOf),
    existsSync: onPath(real.existsSync, (path, disk) => disk.file(path) !== undefined || disk.isFolder(path)),
    mkdirSync: onPath(real.mkdirSync as never, makeFolder),
    readdirSync: onPath(real.readdirSync as never, (path, disk) => disk.list(path)),
    readFileSync: (path: string | number, options?: Encoding) => {
      const isOurs = typeof path === 'number' ? opened.has(path) : diskOf(path) !== undefined
      return isOurs
        ? readFile(path, diskOf(path), options)
        : real.readFileSync(path, options as BufferEncoding)
    },
    writeFileSync: onPath(real.writeFileSync as never, writeFile),
    renameSync: onPath(real.renameSync as never, rename),
    rmSync: onPath(real.rmSync as never, remove),
    unlinkSync: onPath(real.unlinkSync as never, remove),
    realpathSync: onPath(real.realpathSync as never, (path) => path),
    chmodSync: onPath(real.chmodSync as never, () => undefined),
  },
  promises: {
    open: onPathLater(
      realPromises.open as never,
      (path, disk, flags?: string | number, mode?: number) => new Handle(open(path, disk, flags, mode)),
    ),
    readFile: onPathLater(realPromises.readFile as never, readFile as never),
    writeFile: onPathLater(realPromises.writeFile as never, writeFile as never),
    mkdir: onPathLater(realPromises.mkdir as never, makeFolder),
    rename: onPathLater(realPromises.rename as never, rename as never),
    rm: onPathLater(realPromises.rm as never, remove as never),
    unlink: onPathLater(realPromises.unlink as never, remove as never),
    stat: onPathLater(realPromises.stat as never, statOf),
    lstat: onPathLater(realPromises.lstat as never, statOf),
    readdir: onPathLater(realPromises.readdir as never, (path, disk) => disk.list(path)),
    chmod: onPathLater(realPromises.chmod as never, () => undefined),
  },
} as const satisfies Record<string, Record<string, (...args: never[]) => unknown>>
