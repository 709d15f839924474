/**
 * `countersign` as a test runs it: a process of its own, whose exit code and output are what a person or script sees.
 * @module
 */

import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'

export interface Finished {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions {
  /** For its standard input. */
  readonly input?: string
  readonly cwd?: string
}

export function countersign(args: readonly string[], options?: RunOptions): Promise<Finished> {
  return run(fileURLToPath(new URL('./main.ts', import.meta.url)), args, options)
}

/** Runs a program of ours to its end, whatever its exit code. */
export function run(
  file: string,
  args: readonly string[],
  { input = '', cwd }: RunOptions = {},
): Promise<Finished> {
  return new Promise((settle) => {
    const child = execFile(process.execPath, [file, ...args], { cwd }, (error, stdout, stderr) =>
      settle({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
    )
    child.stdin?.end(input)
  })
}
