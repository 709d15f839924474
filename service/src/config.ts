/**
 * Configuration: a JSON file, read once, checked whole and frozen. What is not known is refused, and what is wrong is
 * named by file, line and member; never by its content, which may be a secret.
 * @module
 */

import { readFileSync } from 'node:fs'
import type { z } from 'zod'
import { type Path, readJsonLines } from './json-lines.ts'

/** Something that is wrong: of which member, and where in it. */
interface Mistake {
  readonly path: Path
  readonly line: number
  readonly message: string
}

/** Reads a JSON file and checks it; the message of what is thrown names the file, and each wrong member with its line. */
export function readConfig<Schema extends z.ZodType>(file: string, schema: Schema): z.infer<Schema> {
  const text = readText(file)
  const content = parse(file, text)
  const { lineOf, repeated } = readJsonLines(text)
  const result = schema.safeParse(content)
  const issues = result.success ? [] : result.error.issues
  const mistakes: Mistake[] = issues.map((issue) => ({
    path: issue.path as Path,
    line: lineOf([
      ...(issue.path as Path),
      ...(issue.code === 'unrecognized_keys' ? issue.keys.slice(0, 1) : []),
    ]),
    message: issue.message,
  }))
  // Of two members with one name the last would count, and whoever reads the first is wrong.
  if (repeated !== undefined) mistakes.push({ ...repeated, message: 'stands in it twice' })
  if (result.success && mistakes.length === 0) return Object.freeze(result.data) as z.infer<Schema>
  const wrong = mistakes.map(
    ({ path, line, message }) => `  line ${line}: ${path.join('.') || '(top)'}: ${message}`,
  )
  throw new Error(`${file} is not usable:\n${wrong.join('\n')}`)
}

/** Reads a JSON file. Throws, naming it, when there is none or it holds no JSON. */
export function readJson<Content>(file: string): Content {
  return parse(file, readText(file)) as Content
}

function parse(file: string, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    const [where = ''] = / \(line \d+ column \d+\)/.exec((error as Error).message) ?? []
    throw new Error(`${file} is not JSON${where}`)
  }
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new Error(code === 'ENOENT' ? `there is no file ${file}` : `${file} cannot be read (${code})`)
  }
}
