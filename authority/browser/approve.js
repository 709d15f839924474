/**
 * The page of one proposal: what exactly would be signed, what it changes, who has approved, and a passkey to approve
 * it with. It signs the segment that it showed, whatever the authority says later.
 * @module
 */

import { AuthorityProblem, ask, send } from './api.js'
import { fingerprint, readSegment } from './document.js'
import { element, notice, part } from './dom.js'
import { obstacle, problemOf, signWithPasskey } from './passkey.js'
import { renderAct, renderChanges, renderFingerprint, renderOtherWords, renderPayload } from './review.js'
import { actOf, clock, moment, textOf, visible } from './words.js'

/** @typedef {import('./api.js').Proposal} Proposal */
/** @typedef {import('./document.js').JsonObject} JsonObject */
/** @typedef {import('./document.js').Shown} Shown */
/** @typedef {import('./passkey.js').Operator} Operator */

/**
 * What is shown to be approved. None of it changes once it is shown.
 * @typedef {object} Scene
 * @property {string} id
 * @property {'charter' | 'approval'} kind
 * @property {Shown} shown
 * @property {JsonObject} charter the payload of the charter under which it is approved
 * @property {readonly Operator[]} operators
 * @property {number} expiresAt
 */

/** Whoever approves elsewhere shows here within this time. */
const REFRESH_MILLISECONDS = 2000
/** When the time that is left is read out: seconds. */
const STEPS = [0, 60, 300]

const types = /** @type {const} */ ({ charter: 'charter+jwt', approval: 'approval+jwt' })

/** @param {string} id */
async function open(id) {
  const content = part('content')
  try {
    /** @type {Proposal} */
    const proposal = await ask(addressOf(id))
    const scene = await readScene(id, proposal)
    document.title = `${titleOf(scene)} · Countersign`
    content.replaceChildren(await render(scene, proposal))
    follow(scene, proposal)
  } catch (error) {
    content.replaceChildren(element('h1', {}, 'Nothing to approve'), notice('alarm', ...wordsOf(error)))
  }
  content.removeAttribute('aria-busy')
}

/** @param {string} id */
function addressOf(id) {
  return `/proposals/${encodeURIComponent(id)}`
}

/**
 * @param {string} id
 * @param {Proposal} proposal
 * @returns {Promise<Scene>}
 */
async function readScene(id, { kind, segment, expires_at: expiresAt }) {
  // The address names a content: whoever passes it on has passed on what will be shown.
  if (!(await fingerprint(segment)).join('').startsWith(id) || id.length < 32) throw new AnotherDocument()
  const shown = readSegment(segment)
  const { version, charter_version: named } = shown.payload
  const { payload } = await ask(`/charter/${kind === 'charter' ? Number(version) - 1 : Number(named)}`)
  const charter = readSegment(payload).payload
  const operators = /** @type {readonly Operator[]} */ (/** @type {unknown} */ (charter['operators']))
  return { id, kind, shown, charter, operators, expiresAt }
}

/** What the authority has under an address is not what the address names. */
class AnotherDocument extends Error {}

/** @param {Scene} scene */
function titleOf({ kind, shown: { payload } }) {
  return kind === 'charter' ? `Charter ${textOf(payload['version'], 'version')}` : actOf(payload).title
}

/** @param {Scene} scene */
function leadOf({ kind, shown: { payload }, charter }) {
  if (kind === 'approval') return actOf(payload).effect
  const before = textOf(charter['version'], 'version')
  return `It would replace charter ${before}: what each realm may ever sign, and who decides that.`
}

/**
 * @param {Scene} scene
 * @param {Proposal} proposal
 */
async function render(scene, proposal) {
  const { kind, shown, charter } = scene
  const head = element(
    'header',
    {},
    element('p', { class: 'quiet eyebrow' }, 'Proposal'),
    element('h1', {}, titleOf(scene)),
    element('p', { class: 'lead' }, leadOf(scene)),
  )
  const wide = element(
    'div',
    { class: 'wide' },
    kind === 'charter' ? await renderChanges(shown.payload, charter) : await renderAct(shown.payload),
    ...renderOtherWords(kind, proposal.changes),
    renderPayload(shown),
  )
  const side = element(
    'div',
    { class: 'side' },
    renderTime(scene),
    renderApprovals(scene, proposal),
    await renderFingerprint(shown.segment),
    renderApproval(scene, proposal),
  )
  return element('div', { class: 'proposal' }, head, element('div', { class: 'columns' }, wide, side))
}

/** @param {Scene} scene */
function renderTime({ expiresAt }) {
  return element(
    'section',
    { class: 'sheet', id: 'time-left', 'aria-labelledby': 'time' },
    element(
      'div',
      { class: 'line' },
      element('h2', { id: 'time' }, 'Time left'),
      element('span', { class: 'figure', id: 'clock', role: 'timer' }),
    ),
    element('p', { class: 'spoken', id: 'time-said', role: 'status' }),
    element('p', { class: 'quiet' }, `Expires ${moment(expiresAt)}`),
  )
}

/**
 * @param {Scene} scene
 * @param {Proposal} proposal
 */
function renderApprovals(scene, proposal) {
  return element(
    'section',
    { class: 'sheet', 'aria-labelledby': 'approvers' },
    element('div', { id: 'approvals' }, ...approvalsOf(scene, proposal)),
  )
}

/**
 * @param {Scene} scene
 * @param {Pick<Proposal, 'approved_by' | 'needed'>} proposal
 */
function approvalsOf({ operators }, { approved_by: approvedBy, needed }) {
  const others = operators.filter(({ id }) => !approvedBy.includes(id))
  return [
    element(
      'div',
      { class: 'line' },
      element('h2', { id: 'approvers' }, 'Approvals'),
      element('span', { class: 'figure' }, `${approvedBy.length} of ${needed}`),
    ),
    element(
      'ul',
      { class: 'people' },
      ...approvedBy.map((id, at) => renderPerson(id, at === 0 ? 'proposed it' : 'approved', true)),
      ...others.map(({ id, webauthn }) =>
        renderPerson(id, webauthn ? 'has a passkey' : 'has a key file', false),
      ),
    ),
  ]
}

/**
 * @param {string} id
 * @param {string} state
 * @param {boolean} hasApproved
 */
function renderPerson(id, state, hasApproved) {
  return element(
    'li',
    { class: hasApproved ? 'done' : 'waits' },
    element('span', { class: 'dot', 'aria-hidden': 'true' }, hasApproved ? '✓' : ''),
    element('span', {}, element('strong', {}, visible(id)), element('span', { class: 'quiet' }, ` ${state}`)),
  )
}

/**
 * @param {Scene} scene
 * @param {Proposal} proposal
 */
function renderApproval(scene, proposal) {
  return element(
    'section',
    { class: 'sheet', 'aria-labelledby': 'approve' },
    element('h2', { id: 'approve' }, 'Approve'),
    element('div', { id: 'form' }, renderForm(scene, proposal)),
    element('div', { id: 'outcome', role: 'status' }),
  )
}

/**
 * @param {Scene} scene
 * @param {Proposal} proposal
 */
function renderForm(scene, proposal) {
  const able = scene.operators.filter(({ id, webauthn }) => webauthn && !proposal.approved_by.includes(id))
  const here = able.filter(({ webauthn }) => webauthn?.origins.includes(location.origin))
  if (able.length === 0) return notice('note', 'Nobody who is left has a passkey.', renderCommand(scene.id))
  const problem = obstacle()
  if (problem !== undefined || here.length === 0) {
    return notice(
      'note',
      problem ?? 'The passkeys were made for pages at another address.',
      renderAddresses(able),
    )
  }
  const choice = element(
    'select',
    { id: 'operator', required: '' },
    here.length > 1 && element('option', { value: '' }, 'Choose your name'),
    ...here.map(({ id }) => element('option', { value: id }, visible(id))),
  )
  const button = element('button', { type: 'submit' }, 'Approve with passkey')
  const form = element(
    'form',
    {},
    element('label', { for: 'operator' }, 'You are'),
    choice,
    button,
    element(
      'p',
      { class: 'quiet small' },
      'Your device asks who you are, then signs this document and no other.',
    ),
    element('div', { class: 'quiet small' }, renderCommand(scene.id)),
  )
  form.addEventListener('submit', async (event) => {
    event.preventDefault()
    const operator = here.find(({ id }) => id === choice.value)
    if (operator === undefined || button.disabled) return
    button.disabled = true
    await approve(scene, operator)
    button.disabled = false
  })
  return form
}

/** @param {string} id */
function renderCommand(id) {
  return element('p', {}, 'With a key file: ', element('code', {}, `countersign approve ${id}`))
}

/**
 * Where this page can ask the passkeys.
 * @param {readonly Operator[]} able
 */
function renderAddresses(able) {
  const origins = able
    .flatMap(({ webauthn }) => webauthn?.origins ?? [])
    .filter((origin) => /^https?:/.test(origin))
  const addresses = new Set(origins.map((origin) => `${origin}${location.pathname}`))
  const links = [...addresses].map((href) => element('li', {}, element('a', { href }, visible(href))))
  return element('ul', { class: 'plain' }, ...links)
}

/**
 * @param {Scene} scene
 * @param {Operator} operator
 */
async function approve(scene, operator) {
  const { id, kind, shown } = scene
  tell()
  try {
    const line = await signWithPasskey(shown.segment, types[kind], operator)
    /** @type {{ approved_by: readonly string[], needed: number, version?: number }} */
    const answer = await send(`${addressOf(id)}/approvals`, line)
    part('approvals').replaceChildren(...approvalsOf(scene, answer))
    part('form').replaceChildren()
    part('time-left').hidden = answer.version !== undefined
    tell(renderOutcome(answer))
  } catch (error) {
    tell(notice('alarm', ...wordsOf(error)))
  }
  part('outcome').querySelector('div')?.focus()
}

/** @param {{ approved_by: readonly string[], needed: number, version?: number }} answer */
function renderOutcome({ approved_by: approvedBy, needed, version }) {
  if (version !== undefined) {
    return notice(
      'good',
      `Approved, and carried out as manifest ${version}.`,
      'Validators have it within moments.',
    )
  }
  const missing = needed - approvedBy.length
  const others = missing === 1 ? 'One more person has' : `${missing} more people have`
  return notice(
    'good',
    `Approved: ${approvedBy.length} of ${needed}.`,
    `${others} to approve before it expires.`,
  )
}

/** @param {string} title */
function carriedOut(title) {
  const box = notice('good', title, 'Validators have it within moments.')
  box.dataset['state'] = 'carried_out'
  return box
}

/** @param {HTMLElement} [box] */
function tell(box) {
  part('outcome').replaceChildren(...(box === undefined ? [] : [box]))
}

/**
 * Keeps time and approvals up to date, until there is nothing left to wait for.
 * @param {Scene} scene
 * @param {Proposal} proposal
 */
function follow(scene, proposal) {
  let latest = JSON.stringify(proposal.approved_by)
  let said = Number.POSITIVE_INFINITY
  let hasEnded = false
  const ticking = setInterval(tick, 500)
  const refreshing = setInterval(refresh, REFRESH_MILLISECONDS)

  function tick() {
    const left = scene.expiresAt - Date.now() / 1000
    part('clock').textContent = clock(left)
    const step = STEPS.find((each) => left <= each)
    if (step === undefined || step >= said) return
    said = step
    part('clock').classList.add('late')
    if (step === 0) return end(notice('alarm', ...wordsOf(new AuthorityProblem('proposal_expired', ''))))
    part('time-said').textContent = step === 60 ? 'One minute is left.' : 'Five minutes are left.'
  }

  async function refresh() {
    if (document.hidden) return
    /** @type {Proposal | undefined} */
    const now = await ask(addressOf(scene.id)).catch(() => undefined)
    if (now === undefined || hasEnded) return
    if (now.segment !== scene.shown.segment) return end(notice('alarm', ...wordsOf(new AnotherDocument())))
    const approvals = JSON.stringify(now.approved_by)
    if (approvals !== latest) part('approvals').replaceChildren(...approvalsOf(scene, now))
    latest = approvals
    settle(now)
  }

  /** @param {Proposal} now */
  function settle({ state }) {
    if (state === 'carried_out') end(carriedOut('Approved, and carried out.'))
    else if (state !== 'open') end(notice('alarm', ...wordsOf(new AuthorityProblem(`proposal_${state}`, ''))))
  }

  /** @param {HTMLElement} box */
  function end(box) {
    hasEnded = true
    clearInterval(ticking)
    clearInterval(refreshing)
    part('form').replaceChildren()
    const isCarriedOut = box.dataset['state'] === 'carried_out'
    part('time-left').hidden = isCarriedOut
    // Whoever carried it out by approving has been told so, and by which manifest.
    if (!isCarriedOut || part('outcome').querySelector('[data-state=carried_out]') === null) tell(box)
  }

  tick()
  settle(proposal)
}

/**
 * What went wrong, and what to do about it.
 * @param {unknown} error
 * @returns {[title: string, more?: string]}
 */
function wordsOf(error) {
  if (error instanceof AnotherDocument) {
    return [
      'The authority has another document here than this address names.',
      'Do not approve it anywhere, and tell the other operators.',
    ]
  }
  if (error instanceof SyntaxError || error instanceof TypeError) {
    return ['This document cannot be shown as it is.', 'So it cannot be approved here.']
  }
  if (!(error instanceof AuthorityProblem)) return [problemOf(error)]
  const { code, message } = error
  if (code === 'approval_not_authorised') return ['The authority refused the signature.', message]
  return problems[code] ?? ['The authority refused it.', `${code}: ${message}`]
}

/** By the authority's word. */
const problems = /** @type {Readonly<Record<string, [title: string, more: string]>>} */ ({
  unreachable: ['The authority does not answer.', 'Nothing was approved. Try again.'],
  unknown_proposal: ['There is no such proposal.', 'Check the address, or ask who proposed it.'],
  proposal_expired: ['This proposal has expired.', 'Nobody can approve it any more. Propose it anew.'],
  proposal_outdated: [
    'Another charter came into force meanwhile.',
    'Nobody can approve this proposal any more. Propose it anew, under the new charter.',
  ],
  proposal_carried_out: ['This proposal was carried out before.', 'Nothing is left to approve.'],
  proposal_impossible: ['It cannot be carried out any more.', 'Ask who proposed it what has changed.'],
  witness_unavailable: ['The witness is away, so nothing was carried out.', 'Approve again in a moment.'],
  already_approved: [
    'You have approved this before.',
    'Each person counts once: somebody else has to approve.',
  ],
})

await open(decodeURIComponent(location.pathname.split('/').at(-1) ?? ''))
