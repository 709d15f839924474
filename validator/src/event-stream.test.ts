/**
 * Goal: events are read as the HTML Standard says, however the bytes are cut, and in bounded memory. Method: the
 * standard's own examples; one text cut at every place; streams that never end a line or an event.
 * @module
 */

import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { DeliveryFault } from './delivery.ts'
import { createEventParser, type ServerEvent } from './event-stream.ts'

function parse(...pieces: readonly string[]): readonly ServerEvent[] {
  const parser = createEventParser(1000)
  return pieces.flatMap((piece) => parser(piece))
}

const data = (text: string): readonly string[] => parse(text).map((event) => event.data)

test("the standard's examples", () => {
  assert.deepEqual(data('data: YHOO\ndata: +2\ndata: 10\n\n'), ['YHOO\n+2\n10'])
  assert.deepEqual(
    parse(': test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n'),
    [
      { type: 'message', id: '1', data: 'first event' },
      { type: 'message', id: '', data: 'second event' },
      { type: 'message', id: '', data: ' third event' },
    ],
  )
  assert.deepEqual(data('data\n\ndata\ndata\n\ndata:'), ['', '\n'])
  assert.deepEqual(data('data:test\n\ndata: test\n\n'), ['test', 'test'])
})

test('an event has the type that it names, and only it', () => {
  assert.deepEqual(
    parse('event: manifest\ndata: 1\n\ndata: 2\n\n').map(({ type }) => type),
    ['manifest', 'message'],
  )
})

test('an event without data is none, and forgets its type', () => {
  assert.deepEqual(parse('event: manifest\n\ndata: 1\n\n'), [{ type: 'message', id: '', data: '1' }])
})

test('an id stays until the next, and none has a null character', () => {
  assert.deepEqual(
    parse('id: 7\ndata: 1\n\ndata: 2\n\nid: a\0b\ndata: 3\n\n').map(({ id }) => id),
    ['7', '7', '7'],
  )
})

test('unknown fields, comments, retry and the unfinished rest are left out', () => {
  assert.deepEqual(data('retry: 1\nfoo: bar\n:\n data: no\ndata: yes\nDATA: no\n\ndata: unfinished\n'), [
    'yes',
  ])
})

test('lines end in any of three ways, wherever the text is cut', () => {
  const text = [
    'event: a\r\ndata: 1\r\n\r\n',
    'data: 2\rdata: 3\r\r',
    ': c\n\ndata: 4\n\r\n',
    'id: 9\ndata:\n\n',
  ].join('')
  const whole = parse(text)
  assert.deepEqual(
    whole.map((event) => event.data),
    ['1', '2\n3', '4', ''],
  )
  fc.assert(
    fc.property(fc.array(fc.nat(text.length), { maxLength: 12 }), (cuts) => {
      const places = [0, ...cuts.toSorted((one, other) => one - other), text.length]
      const pieces = places.slice(1).map((place, index) => text.slice(places[index], place))
      assert.deepEqual(parse(...pieces), whole)
    }),
    { seed: 6, numRuns: 500 },
  )
  assert.deepEqual(parse(...text), whole)
})

test('T110: an endless line, an endless event and an endless name are given up', () => {
  for (const piece of [
    'x',
    'data: 12345678\n',
    'event: 1\nid: 12345678901234567890\nevent: 12345678901234567890\ndata: 1\n',
  ]) {
    const parser = createEventParser(1000)
    assert.throws(() => {
      for (let count = 0; count < 2000; count++) parser(piece)
    }, DeliveryFault)
  }
})

test('many events in one piece are many events, not one that is too long', () => {
  assert.equal(parse('data: 12345678\n\n'.repeat(500)).length, 500)
})
