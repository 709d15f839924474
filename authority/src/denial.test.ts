/**
 * Goal: whoever scripts against the authority finds every word that it may answer. Method: compare the table with the
 * rows of the pages in spec/.
 */

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { denials } from './denial.ts'

test('the pages name each denial with its status, and no other', () => {
  const rows = ['command', 'delivery'].flatMap((name) => {
    const page = readFileSync(new URL(`../../spec/${name}.md`, import.meta.url), 'utf8')
    return [...page.matchAll(/^\| (\d{3}) +\| `(\w+)` +\|/gm)].map(([, status, code]) => `${code} ${status}`)
  })
  // A media type that is not read is refused by the HTTP server, before any of this.
  const named = new Set(rows.filter((row) => row !== 'invalid_request 415'))
  assert.deepEqual(
    [...named].sort(),
    Object.entries(denials)
      .map(([code, { status }]) => `${code} ${status}`)
      .sort(),
  )
})
