/**
 * Keeps the tables of docs/attacks.md and docs/flaws.md true: the last column of each row names the tests whose titles
 * carry its number (T084, F4), and the steps of the drill. A row that no test names keeps the reason a person wrote there: `later: <topic>` or
 * `not applicable: <why>`. Beside tests, a reason that begins `the rest later:` or `the rest not applicable:` stays.
 *
 *     node tools/evidence.ts    rewrites both documents; test/docs.test.ts fails where somebody should have
 * @module
 */

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { steps } from '../drill/src/steps/index.ts'
import { readSources, readStrings, root } from './source.ts'

/** A test that names attacks or flaws. */
export interface Named {
  readonly title: string
  /** From the root of the repository. */
  readonly path: string
}

/** Tests by the number that they name. */
export type Evidence = ReadonlyMap<string, readonly Named[]>

/** Where titles are looked for, besides the steps of the drill. */
const SOURCES = ['*/src/**/*.test.ts', 'test/**/*.test.ts'] as const

const DRILL = 'drill/src/steps/index.ts'

export const documents: readonly string[] = ['docs/attacks.md', 'docs/flaws.md']

/** More than this many titles say no more about one row. */
const TITLES_MAX = 4

const NUMBER = /\b(?:T(\d{3})(?:\s*[-–]\s*T(\d{3}))?|F(\d{1,2}))\b/g

const ROW = /^\| ([TF]\d+) \|(.*)\| ([^|]*) \|$/

/** Reads every title in the tree that names an attack or a flaw; the steps of the drill come first. */
export function readEvidence(): Evidence {
  const evidence = new Map<string, Named[]>()
  const add = (number: string, named: Named): void => {
    evidence.set(number, [...(evidence.get(number) ?? []), named])
  }
  for (const { title, flaws } of steps) {
    for (const flaw of flaws) add(flaw, { title: `drill: ${title}`, path: DRILL })
  }
  for (const [path, text] of readSources(...SOURCES)) {
    for (const title of new Set(readStrings(path, text))) {
      // One word is no title: a hexadecimal digit pair looks like a flaw.
      if (!title.includes(' ')) continue
      for (const number of numbersIn(title)) add(number, { title, path })
    }
  }
  return evidence
}

/** The numbers in a title, each once; `T001-T003` is three. */
export function numbersIn(title: string): readonly string[] {
  const numbers = new Set<string>()
  for (const [, first, last = first, flaw] of title.matchAll(NUMBER)) {
    if (flaw !== undefined) numbers.add(`F${flaw}`)
    for (let n = Number(first); n <= Number(last); n++) numbers.add(`T${String(n).padStart(3, '0')}`)
  }
  return [...numbers]
}

/** A document with the last column of each numbered row brought up to date. */
export function withEvidence(document: string, evidence: Evidence): string {
  return document
    .split('\n')
    .map((line) => {
      const [, number = '', middle, written = ''] = ROW.exec(line) ?? []
      const tests = evidence.get(number) ?? []
      return middle === undefined ? line : `| ${number} |${middle}| ${cell(tests, written)} |`
    })
    .join('\n')
}

/** The last cell of each row by its number. */
export function rowsOf(document: string): ReadonlyMap<string, string> {
  const rows = document.split('\n').flatMap((line) => {
    const [, number, , written] = ROW.exec(line) ?? []
    return number === undefined || written === undefined ? [] : [[number, written] as const]
  })
  return new Map(rows)
}

function cell(tests: readonly Named[], written: string): string {
  if (tests.length === 0) return /^(later|not applicable): /.test(written) ? written : 'open'
  const links = tests.slice(0, TITLES_MAX).map(({ title, path }) => `[${inCell(title)}](../${path})`)
  if (tests.length > TITLES_MAX) links.push(`and ${tests.length - TITLES_MAX} more`)
  const rest = /the rest (?:later|not applicable): .*$/.exec(written)
  return [...links, ...(rest ?? [])].join('; ')
}

/** A title as text inside a link inside a table. */
function inCell(title: string): string {
  return title
    .replaceAll(/\s+/g, ' ')
    .replaceAll('|', '&#124;')
    .replaceAll(/[[\]\\`*_<]/g, '\\$&')
}

if (import.meta.main) {
  const evidence = readEvidence()
  for (const document of documents) {
    const path = join(root, document)
    const before = readFileSync(path, 'utf8')
    const after = withEvidence(before, evidence)
    writeFileSync(path, after)
    console.log(`${document}: ${before === after ? 'was up to date' : 'rewritten'}`)
  }
}
