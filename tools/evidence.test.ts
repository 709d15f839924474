/**
 * Goal: the tables of attacks and flaws cannot claim a test that is not there, nor lose a reason that a person wrote.
 * Method: small tables and titles, rewritten.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { numbersIn, rowsOf, withEvidence } from './evidence.ts'

const title = { title: 'T001 a [token] | none', path: 'validator/src/jws.test.ts' }

test('evidence: a title names its attacks and flaws, a range names each', () => {
  assert.deepEqual(numbersIn('T084 F1 F2: a consumer key; T009-T011 too, T084 again'), [
    'T084',
    'F1',
    'F2',
    'T009',
    'T010',
    'T011',
  ])
  assert.deepEqual(numbersIn('AT001, T1, T0011 and F123 are other things'), [])
})

test('evidence: a row links the tests that name it, with the title made harmless', () => {
  const after = withEvidence('| T001 | alg:none | open |', new Map([['T001', [title]]]))
  assert.equal(after, '| T001 | alg:none | [T001 a \\[token\\] &#124; none](../validator/src/jws.test.ts) |')
  assert.equal(withEvidence(after, new Map([['T001', [title]]])), after)
})

test('evidence: a row whose tests are gone is open again', () => {
  assert.equal(withEvidence('| T001 | x | [a test](../a.test.ts) |', new Map()), '| T001 | x | open |')
})

test('evidence: a reason stays until a test comes, and what a test leaves over stays beside it', () => {
  const waits = '| T001 | x | later: adapters |'
  assert.equal(withEvidence(waits, new Map()), waits)
  const covered = withEvidence(waits, new Map([['T001', [title]]]))
  assert.doesNotMatch(covered, /later/)
  const partly = covered.replace(/ \|$/, '; the rest later: adapters |')
  assert.equal(withEvidence(partly, new Map([['T001', [title]]])), partly)
})

test('evidence: only the last column of a numbered row is written, and it is what is read', () => {
  const text = '# T001\n| number | attack |\n| F1 | a | b | not applicable: no SAML |\n'
  assert.equal(withEvidence(text, new Map()), text)
  assert.deepEqual([...rowsOf(text)], [['F1', 'not applicable: no SAML']])
})
