/**
 * Goal: no text is accepted that another reader could take for another object. Method: a list of the known tricks;
 * then generated objects, written in ways that mean the same (accepted, same value) and with one member doubled
 * (refused, wherever it stands and however it is escaped).
 */

import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { type JsonObject, type JsonValue, parseObject } from './json.ts'

const malformed = { name: 'Refusal', reason: 'malformed' }
const deep = (levels: number): string => `{"a":${'['.repeat(levels)}${']'.repeat(levels)}}`

const refused: Readonly<Record<string, string | Uint8Array>> = {
  'T047 T054 a member twice': '{"exp":1,"exp":2}',
  'T047 T054 a member twice with the same value': '{"exp":1,"exp":1}',
  'T054 a member twice inside an object': '{"cnf":{"jkt":"a","jkt":"b"}}',
  'T054 a member twice inside an array': '{"keys":[{"a":1},{"a":1,"a":2}]}',
  'T054 a member twice with spaces before its colon': '{"a" :1, "a"\t:2}',
  'T054 a member twice with a space before one of its colons': '{"a":1,"a" :2}',
  'T057 a member twice, once escaped': '{"iss":"a","\\u0069ss":"b"}',
  'T057 a member twice, escaped in two ways': '{"\\u0069ss":"a","i\\u0073s":"b"}',
  'T057 a member twice around a quote in a string': '{"a":"\\"","a":1}',
  'T048 T061 an array': '[1]',
  'T048 T061 a string': '"{}"',
  'T048 T061 a number': '1',
  'T048 T061 null': 'null',
  'T061 nothing': '',
  'T061 two objects': '{}{}',
  'T056 a byte order mark': '\ufeff{}',
  'T056 a byte order mark as bytes': Uint8Array.of(0xef, 0xbb, 0xbf, 0x7b, 0x7d),
  'T056 UTF-16': Buffer.from('{"a":1}', 'utf16le'),
  'T056 UTF-32': Buffer.from([...'{"a":1}'].map((c) => `${c}\0\0\0`).join(''), 'latin1'),
  'T056 a byte that is no UTF-8': Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d),
  'T056 an overlong slash': Uint8Array.of(0x7b, 0x22, 0xc0, 0xaf, 0x22, 0x3a, 0x31, 0x7d),
  'T056 a surrogate encoded as UTF-8': Uint8Array.of(0x7b, 0x22, 0xed, 0xa0, 0x80, 0x22, 0x3a, 0x31, 0x7d),
  'T056 a lone surrogate, escaped': '{"a":"\\ud800"}',
  'T056 a lone surrogate as a name': '{"\\udc00":1}',
  'T056 a lone surrogate as it is': '{"a":"\ud800"}',
  'T058 a number beyond a double': '{"exp":1e400}',
  'T058 a number beyond a double, below zero': '{"exp":-1e400}',
  'T058 a leading zero': '{"exp":01}',
  'T058 a plus sign': '{"exp":+1}',
  'T058 a hexadecimal number': '{"exp":0x1}',
  'T059 brackets 33 deep': deep(33),
  'T059 brackets 100,000 deep': deep(100_000),
  'T059 objects 100,000 deep': `${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`,
  'T060 NaN': '{"exp":NaN}',
  'T060 Infinity': '{"exp":Infinity}',
  'T060 a comment': '{"exp":1/* 2 */}',
  'T060 a comma at the end': '{"exp":1,}',
  'T060 single quotes': "{'exp':1}",
  'T060 a name without quotes': '{exp:1}',
  'T060 a control character in a string': '{"a":"\n"}',
  'T049 a no-break space between tokens': '{"a":\u00a01}',
  'T028 T062 a member __proto__': '{"__proto__":{"admin":true}}',
  'T062 a member __proto__, escaped': '{"\\u005f_proto__":{"admin":true}}',
  'T062 a member __proto__ further in': '{"a":[{"__proto__":null}]}',
}

for (const [what, text] of Object.entries(refused)) {
  test(`${what} is refused`, () => {
    assert.throws(() => parseObject(text), malformed)
  })
}

test('T055 members that differ in case are different members', () => {
  assert.deepEqual(parseObject('{"exp":1,"Exp":2,"EXP":3}'), { exp: 1, Exp: 2, EXP: 3 })
})

test('T062 members named like those of every object are members and no more', () => {
  const value = parseObject('{"constructor":1,"toString":2,"hasOwnProperty":3}')
  assert.deepEqual(Object.entries(value), [
    ['constructor', 1],
    ['toString', 2],
    ['hasOwnProperty', 3],
  ])
})

test('one name in several objects, and brackets in strings, are no duplicates', () => {
  const text = '{ "a" : [ {"a":1}, {"a":"{\\"a\\":1,\\"a\\""} ], "b" : {"a":"]}"} , "__proto":"__proto__:" }'
  assert.deepEqual(parseObject(text), JSON.parse(text))
})

test('32 levels are read', () => {
  assert.deepEqual(parseObject(deep(31)), JSON.parse(deep(31)))
})

/** JSON values whose numbers and names survive being written. */
const object = fc
  .dictionary(name(), fc.jsonValue({ maxDepth: 4, depthSize: 'small' }), {
    maxKeys: 6,
    noNullPrototype: true,
  })
  .filter((value) => !JSON.stringify(value).includes('__proto__') && isWellFormed(JSON.stringify(value)))

function name(): fc.Arbitrary<string> {
  return fc.oneof(
    fc.constantFrom('iss', 'aud', 'a:', '"', '\\', '\\"', '{', '€', '😀', '1', 'x y'),
    fc.string(),
  )
}

function isWellFormed(text: string): boolean {
  return !/\\ud[89a-f]/i.test(text)
}

test('however an object is written, it is read as JSON.parse reads it', () => {
  fc.assert(
    fc.property(object, fc.constantFrom(undefined, 1, '\t'), fc.boolean(), (value, indent, escaped) => {
      const text = JSON.stringify(value, undefined, indent)
      const written = escaped ? text.replace(/[\u0080-\uffff]/g, unicodeEscape) : text
      assert.deepEqual(parseObject(written), JSON.parse(text))
      assert.deepEqual(parseObject(Buffer.from(written)), JSON.parse(text))
    }),
    { seed: 2, numRuns: 500 },
  )
})

test('T054 T057 one member doubled anywhere refuses the whole', () => {
  fc.assert(
    fc.property(object, fc.nat(), fc.boolean(), fc.boolean(), (value, pick, escaped, last) => {
      const objects = objectsIn(value).filter((each) => Object.keys(each).length > 0)
      fc.pre(objects.length > 0)
      const target = objects[pick % objects.length] as JsonObject
      const text = write(value, target, escaped, last)
      assert.doesNotThrow(() => JSON.parse(text))
      assert.throws(() => parseObject(text), malformed)
    }),
    { seed: 3, numRuns: 500 },
  )
})

function objectsIn(value: unknown): JsonObject[] {
  if (typeof value !== 'object' || value === null) return []
  const inner = Object.values(value).flatMap(objectsIn)
  return Array.isArray(value) ? inner : [value as JsonObject, ...inner]
}

/** Writes JSON with the first member of `target` once more, at the end or directly after itself. */
function write(value: unknown, target: JsonObject, escaped: boolean, last: boolean): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  if (Array.isArray(value)) return `[${value.map((item) => write(item, target, escaped, last)).join(',')}]`
  const members = Object.entries(value as Record<string, JsonValue>).map(
    ([member, inner]) => `${JSON.stringify(member)}:${write(inner, target, escaped, last)}`,
  )
  if (value === target) {
    const doubled = Object.keys(target)[0] as string
    const again = escaped ? `"${[...doubled].flatMap(units).join('')}"` : JSON.stringify(doubled)
    members.splice(last ? members.length : 1, 0, `${again}:0`)
  }
  return `{${members.join(',')}}`
}

function units(character: string): string[] {
  return character.split('').map(unicodeEscape)
}

function unicodeEscape(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`
}
