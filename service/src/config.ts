/**
 * Configuration: a JSON file, read once, checked whole and frozen. What is not known is refused, and what is wrong is
 * named by file and member; never by its content, which may be a secret.
 * @module
 */

import { readFileSync } from 'node:fs'
import type { z } from 'zod'

/** Reads a JSON file and checks it; the message of what is thrown names the file and each wrong member. */
export function readConfig<Schema extends z.ZodType>(file: string, schema: Schema): z.infer<Schema> {
  const result = schema.safeParse(readJson(file))
  if (result.success) return Object.freeze(result.data) as z.infer<Schema>
  const wrong = result.error.issues.map((issue) => `  ${issue.path.join('.') || '(top)'}: ${issue.message}`)
  throw new Error(`${file} is not usable:\n${wrong.join('\n')}`)
}

/** Reads a JSON file. Throws, naming it, when there is none or it holds no JSON. */
export function readJson<Content>(file: string): Content {
  const text = readText(file)
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
