/**
 * What all pages have that people see: colours by day and by night, letters, controls, and our mark. How a page is laid out
 * is its service's own.
 * @module
 */

import { readFileSync } from 'node:fs'
import { html } from './html.ts'

/** A style sheet. Those of a page come after it. */
export const pageStyle: string = readFileSync(new URL('page.css', import.meta.url), 'utf8')

/** A seal with a second stroke: signed, and signed again. */
export const mark = html`<svg width="28" height="28" viewBox="0 0 28 28" fill="none" stroke="currentColor" stroke-width="2.25" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true"><circle cx="14" cy="14" r="11.5"/><path d="m7.5 14.5 3.5 3.5 6-7.5"/><path d="m14.5 18 6-7.5"/></svg>`
