/**
 * Goal: a mistake in a configuration is shown where it stands. Method: texts of every shape, and generated ones written
 * with one member to a line, so that the line of each is known.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type Path, readJsonLines } from './json-lines.ts'

test('T239 each member and element has its line, and one that is left out that of what it would stand in', () => {
  const text = `{
  "a": 1, "b": {
    "c": [
      "x",
      { "d": "}{[]:,\\"" }
    ]
  },

  "e": null
}`
  const { lineOf, repeated } = readJsonLines(text)
  assert.equal(repeated, undefined)
  const lines: readonly (readonly [Path, number])[] = [
    [[], 1],
    [['a'], 2],
    [['b'], 2],
    [['b', 'c'], 3],
    [['b', 'c', 0], 4],
    [['b', 'c', 1], 5],
    [['b', 'c', 1, 'd'], 5],
    [['e'], 9],
    [['b', 'f'], 2],
    [['b', 'c', 1, 'g', 'h'], 5],
    [['nowhere'], 1],
  ]
  for (const [path, line] of lines) assert.equal(lineOf(path), line, path.join('.'))
})

test('T239 a member that stands twice is found, however its name is written, and the same name elsewhere is not', () => {
  assert.deepEqual(readJsonLines('{"a": 1,\n"b": {"a": 1},\n"\\u0061": 2}').repeated, {
    path: ['a'],
    line: 3,
  })
  assert.deepEqual(readJsonLines('[{"a": 1}, {"a": {"b": 1,\n "b": 2}}]').repeated, {
    path: [1, 'a', 'b'],
    line: 2,
  })
  assert.equal(readJsonLines('{"a": ["a", "a"], "b": [{"c": 1}, {"c": 1}]}').repeated, undefined)
})

test('T239 whatever the value, every member is found where it is written', () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 4 }), (value) => {
      const text = JSON.stringify(value, undefined, 1)
      const { lineOf } = readJsonLines(text)
      const written = text.split('\n')
      const visit = (each: unknown, path: Path): void => {
        if (typeof each !== 'object' || each === null) return
        for (const [name, inner] of Object.entries(each)) {
          const at: string | number = Array.isArray(each) ? Number(name) : name
          const line: string = written[lineOf([...path, at]) - 1] ?? ''
          const start: string = Array.isArray(each)
            ? (JSON.stringify(inner)[0] ?? '')
            : `${JSON.stringify(name)}:`
          assert.ok(line.trimStart().startsWith(start), `${path} ${name}: ${line}`)
          assert.ok(line.startsWith(' '.repeat(path.length + 1)), 'as deep as it is')
          visit(inner, [...path, at])
        }
      }
      visit(value, [])
    }),
    { seed: 8, numRuns: 300 },
  )
})
