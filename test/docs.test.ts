/**
 * Goal: what the documents say about the code is so. Method: read them as data. Links and file names resolve, commands
 * exist, the two tables follow the tests' titles and leave no flaw and no attack of groups A to G open.
 */

import assert from 'node:assert/strict'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { wishesSchema } from '../cli/src/config.ts'
import { documents, readEvidence, rowsOf, withEvidence } from '../tools/evidence.ts'
import { page as reasonsDocument, reasonsPage } from '../tools/reasons.ts'
import { root } from '../tools/source.ts'

const pages = globSync(['*.md', '*/README.md', 'docs/**/*.md', 'spec/**/*.md'], { cwd: root }).sort()
const { scripts, workspaces } = JSON.parse(read('package.json')) as {
  readonly scripts: Readonly<Record<string, string>>
  readonly workspaces: readonly string[]
}

/** The last attack of group G: the ones before it are this system's own ground. */
const OWN_ATTACK_LAST = 148
const ATTACK_LAST = 272
const FLAW_LAST = 14

test('docs: each relative link leads to a file', () => {
  const broken = pages.flatMap((page) =>
    [...read(page).matchAll(/\]\((?!https?:|#)([^)#\s]+)[^)]*\)|(?:src|srcset)="(?!https?:)([^"#]+)"/g)]
      .map(([, link, source]) => link ?? source ?? '')
      .filter((link) => !existsSync(join(root, dirname(page), link)))
      .map((link) => `${page}: ${link}`),
  )
  assert.deepEqual(broken, [])
})

test('docs: each file of ours that is named in backticks exists', () => {
  const missing = pages.flatMap((page) =>
    [...read(page).matchAll(/`(\w[\w.-]*(?:\/[\w.-]+)+\.(?:ts|md|json|sh|svg))`/g)]
      .map(([, file = '']) => file)
      .filter((file) => !existsSync(join(root, file)) && !existsSync(join(root, dirname(page), file)))
      .map((file) => `${page}: ${file}`),
  )
  assert.deepEqual(missing, [])
})

test('docs: each npm command and each script that a page names exists', () => {
  const missing = pages.flatMap((page) =>
    [...read(page).matchAll(/npm (?:run ([\w:-]+)|(start|test)\b)|node ([\w/-]+\.ts)/g)]
      .filter(([, run, short, file]) =>
        file === undefined
          ? !((run ?? short ?? '') in scripts)
          : ![root, join(root, dirname(page))].some((folder) => existsSync(join(folder, file))),
      )
      .map(([command]) => `${page}: ${command}`),
  )
  assert.deepEqual(missing, [])
})

test('docs: the README starts with the commands that CI runs', () => {
  const readme = read('README.md')
  for (const command of ['npm ci', 'npm test', 'npm run drill']) {
    assert.ok(readme.includes(command), `the README does not name ${command}`)
    assert.match(read('.ci/run'), new RegExp(`^${command}\\b`, 'm'))
  }
  assert.ok(readme.includes('npm ci && npm start'))
})

test('docs: the architecture page names every workspace', () => {
  const page = read('docs/ARCHITECTURE.md')
  assert.deepEqual(
    workspaces.filter((workspace) => !page.includes(`\`${workspace}/\``)),
    [],
  )
})

test('docs: the sample configuration is one that countersign up takes', () => {
  const [, sample = ''] = /```json\n(.*?)```/s.exec(read('docs/configuration.md')) ?? []
  const wishes = wishesSchema.parse(JSON.parse(sample))
  assert.deepEqual(Object.keys(wishes), Object.keys(wishesSchema.shape))
})

test('docs: each decision names what was turned down, on half a page', () => {
  const records = pages.filter((page) => page.startsWith('docs/decisions/'))
  assert.ok(records.length > 0)
  for (const record of records) {
    assert.match(record, /\/\d{4}-[a-z-]+\.md$/)
    const text = read(record)
    assert.match(text, /\*\*Decision\.\*\*[\s\S]*\*\*Why\.\*\*[\s\S]*\*\*Turned down\.\*\*/, record)
    assert.ok(text.split('\n').length <= 40, `${record} is longer than half a page`)
  }
})

for (const document of documents) {
  test(`docs: ${document} links the tests that there are (node tools/evidence.ts rewrites it)`, () => {
    const before = read(document).split('\n')
    const after = withEvidence(read(document), readEvidence()).split('\n')
    const astray = before.filter((row, line) => row !== after[line]).map((row) => row.slice(0, 60))
    assert.deepEqual(astray, [])
  })
}

test('docs: the page of reasons says what the code does (node tools/reasons.ts rewrites it)', () => {
  assert.equal(read(reasonsDocument), reasonsPage())
})

test('docs: every attack has its row, and no attack of groups A to G is open', () => {
  const page = read('docs/attacks.md')
  const rows = rowsOf(page)
  const numbers = Array.from({ length: ATTACK_LAST }, (_, n) => `T${String(n + 1).padStart(3, '0')}`)
  assert.deepEqual([...rows.keys()], numbers)
  assert.deepEqual(
    numbers.slice(0, OWN_ATTACK_LAST).filter((number) => rows.get(number) === 'open'),
    [],
  )
})

test('docs: what waits names one of the topics that the attack page lists', () => {
  const page = read('docs/attacks.md')
  const topics = [...page.matchAll(/^- \*\*([\w -]+)\*\*: /gm)].map(([, topic = '']) => topic)
  const astray = documents
    .flatMap((document) => [...rowsOf(read(document))])
    .filter(([, cell]) => {
      const [, topic] = /\blater: ([^(;]+)/.exec(cell) ?? []
      return topic !== undefined && !topics.includes(topic.trim())
    })
  assert.deepEqual(astray, [])
})

test('docs: each flaw of the incident has a test or says what it waits for', () => {
  const rows = rowsOf(read('docs/flaws.md'))
  assert.deepEqual(
    [...rows.keys()],
    Array.from({ length: FLAW_LAST }, (_, n) => `F${n + 1}`),
  )
  assert.deepEqual(
    [...rows].filter(([, cell]) => cell === 'open'),
    [],
  )
})

function read(file: string): string {
  return readFileSync(join(root, file), 'utf8')
}
