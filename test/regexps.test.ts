/**
 * Goal: no regular expression of ours takes more than linear time, whatever a stranger sends (T269). Method: each literal of the
 * source runs over long texts that are made of its own characters and end so that they do not match. What
 * backtracks twice over 32 Ki characters takes a second; what does not, a millisecond.
 */

import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'

const root = join(import.meta.dirname, '..')
const LENGTH_MAX = 32 * 1024
const MILLISECONDS_MAX = 100

/** What no stranger sends anything to. */
const ours = /^(?:bench|drill|simulation)\/|\.test\.ts$|\/(?:test|fake)-|testing/

interface Literal {
  readonly file: string
  readonly regexp: RegExp
}

/** Where an operand may begin: slashes, with anything between that is not one, escaped, or in a class. */
const literal = /(?<=[\s(,=:[!&|?{};>])\/(?![*/])((?:[^\\/[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+)\/([dgimsuvy]*)/g

/** All that there are, and now and then a path in a text, which does no harm. */
function literalsOf(file: string): readonly Literal[] {
  const found = readFileSync(join(root, file), 'utf8').matchAll(literal)
  return [...found].flatMap(([, source = '', flags]) => {
    try {
      return [{ file, regexp: new RegExp(source, flags) }]
    } catch {
      return []
    }
  })
}

/** What keeps an expression busy when it comes over and over: its own characters and words, alone and with others between. */
function pumpsFor({ source }: RegExp): readonly string[] {
  const words = source.replace(/\\[dwsDWSbB]|[\\^$.*+?()[\]{}|]/g, ' ').split(/\s+/)
  const pieces = new Set([...words.filter((word) => word !== ''), ...words.join(''), ...'a0 ."\\/=,;-_'])
  return [...pieces].flatMap((piece) => [piece, `${piece}a`, `${piece} `])
}

/** The first of such texts that takes too long. They grow slowly: what takes exponential time would never come back from a long one. */
function slowTextFor({ regexp }: Literal): string | undefined {
  for (const pump of pumpsFor(regexp)) {
    for (let length = 16; length <= LENGTH_MAX; length += length < 48 ? 1 : length >> 1) {
      const long = pump.repeat(Math.ceil(length / pump.length))
      const slow = [`${long}\0`, `"a ${long}\0`].find((text) => isSlow(regexp, text))
      if (slow !== undefined) return `${slow.slice(0, 20)}…`
    }
  }
  return undefined
}

/** Again and again: a machine that was busy with something else is not busy three times. */
function isSlow(regexp: RegExp, text: string): boolean {
  return [1, 2, 3].every(() => {
    regexp.lastIndex = 0
    const startedAt = performance.now()
    regexp.test(text)
    return performance.now() - startedAt > MILLISECONDS_MAX
  })
}

test('T269: no regular expression takes more than linear time over what a stranger may send', () => {
  const files = globSync('*/src/**/*.ts', { cwd: root }).filter((file) => !ours.test(file))
  const literals = files.flatMap(literalsOf)
  assert.ok(literals.length > 100, `${literals.length} expressions found`)
  const slow = literals.flatMap((literal) => {
    const text = slowTextFor(literal)
    return text === undefined ? [] : [`${literal.file}: ${literal.regexp} over ${JSON.stringify(text)}`]
  })
  assert.deepEqual(slow, [])
})

test('what finds slow expressions finds them', () => {
  for (const regexp of [/^(?:\w+\s?)*$/, /\s+$/, /^(?:a|aa)+$/])
    assert.notEqual(slowTextFor({ file: '', regexp }), undefined, String(regexp))
})
