/**
 * The page of all that waits for approval.
 * @module
 */

import { ask } from './api.js'
import { readSegment } from './document.js'
import { element, notice, part } from './dom.js'
import { actOf, clock, textOf, visible } from './words.js'

/** @typedef {import('./api.js').Proposal} Proposal */

const REFRESH_MILLISECONDS = 5000

let shown = ''

await refresh()
part('content').removeAttribute('aria-busy')
setInterval(() => document.hidden || refresh(), REFRESH_MILLISECONDS)

async function refresh() {
  const list = part('list')
  try {
    /** @type {{ proposals: readonly Proposal[] }} */
    const { proposals } = await ask('/proposals')
    for (const { id, expires_at: expiresAt } of proposals) {
      const left = document.getElementById(`left-${id}`)
      if (left !== null) left.textContent = leftOf(expiresAt)
    }
    // What stands there already is left alone, with the focus that may be on it.
    const now = JSON.stringify(proposals.map(({ id, approved_by: approvedBy }) => [id, approvedBy]))
    if (now === shown && list.childElementCount > 0) return
    shown = now
    list.replaceChildren(...(proposals.length === 0 ? [nothing()] : proposals.map(render)))
  } catch {
    shown = ''
    list.replaceChildren(notice('alarm', 'The authority does not answer.', 'This page asks again by itself.'))
  }
}

function nothing() {
  return notice('note', 'Nothing waits for approval.', 'A proposal stands here for 15 minutes at most.')
}

/** @param {Proposal} proposal */
function render({ id, kind, segment, approved_by: approvedBy, needed, expires_at: expiresAt }) {
  return element(
    'a',
    { class: 'sheet link', href: `/approve/${encodeURIComponent(id)}` },
    element('strong', {}, titleOf(kind, segment)),
    element(
      'span',
      { class: 'quiet' },
      `proposed by ${visible(approvedBy[0] ?? 'nobody')} · ${approvedBy.length} of ${needed} people`,
    ),
    element('span', { class: 'quiet', id: `left-${id}` }, leftOf(expiresAt)),
  )
}

/** @param {number} expiresAt */
function leftOf(expiresAt) {
  return `${clock(expiresAt - Date.now() / 1000)} left`
}

/**
 * @param {Proposal['kind']} kind
 * @param {string} segment
 */
function titleOf(kind, segment) {
  try {
    const { payload } = readSegment(segment)
    return kind === 'charter' ? `Charter ${textOf(payload['version'], 'version')}` : actOf(payload).title
  } catch {
    return 'A document that cannot be shown'
  }
}
