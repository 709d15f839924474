/**
 * `countersign` as a test runs it: a process of its own, whose exit code and output are what a person or script sees.
 * @module
 */

import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'

export interface Finished {
  /** Null where it was killed. */
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions {
  /** For its standard input. */
  readonly input?: string
  readonly cwd?: string
  /** It is killed as soon as it says this. */
  readonly until?: RegExp | undefined
}

export function countersign(args: readonly string[], options?: RunOptions): Promise<Finished> {
  return run(fileURLToPath(new URL('./main.ts', import.meta.url)), args, options)
}

/** Runs a program of ours to its end, whatever its exit code. */
export function run(
  file: string,
  args: readonly string[],
  { input = '', cwd, until }: RunOptions = {},
): Promise<Finished> {
  return new Promise((settle) => {
    const child = execFile(process.execPath, [file, ...args], { cwd }, (_error, stdout, stderr) =>
      settle({ code: child.exitCode, stdout, stderr }),
    )
    child.stdin?.end(input)
    let said = ''
    if (until === undefined) return
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (text: string) => {
        said += text
        if (until.test(said)) child.kill('SIGKILL')
      })
  })
}
