/**
 * Goal: what services say reaches a person as one plain line, at the times when it is for somebody. Method: lines as
 * pino writes them, and lines that are no such thing.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { stripVTControlCharacters } from 'node:util'
import { formatEvent, isShown } from './events.ts'

const warning = JSON.stringify({
  level: 40,
  time: new Date(2026, 10, 24, 9, 5, 7).getTime(),
  pid: 1,
  hostname: 'vm',
  name: 'authority',
  op: 'block',
  by: 'olga',
  reason: 'seen twice',
  changed: true,
  msg: 'a command was carried out',
})
const error = warning.replace('"level":40', '"level":50')

test('an event is one line: when, who, what, and the rest by name', () => {
  assert.equal(
    stripVTControlCharacters(formatEvent('authority', warning)),
    '09:05:07 authority  a command was carried out op=block by=olga reason="seen twice" changed=true',
  )
})

test('T027 what came from outside cannot steer the terminal', () => {
  for (const evil of ['\u001b[2J', '\u009b31m', 'a\rb', '\u202eabc', '\u0007']) {
    for (const line of [JSON.stringify({ ...JSON.parse(warning), kid: evil, msg: evil }), evil]) {
      const shown = stripVTControlCharacters(formatEvent('gateway', line))
      assert.doesNotMatch(shown, /[^\P{C}]/u, JSON.stringify(shown))
    }
  }
})

test('while services miss each other, at the start and at the end, warnings are nothing to read', () => {
  const shown = (line: string): boolean[] =>
    (['starting', 'running', 'stopping'] as const).map((phase) => isShown(line, phase))
  assert.deepEqual(shown(warning), [false, true, false])
  assert.deepEqual(shown(error), [false, true, true])
  assert.deepEqual(shown('TypeError: not one of our lines'), [false, true, true])
})
