/**
 * What would be signed, laid out to be read: the changes, the act, the whole document, its hash.
 * @module
 */

import { ask } from './api.js'
import { differences } from './difference.js'
import { fingerprint, isObject, nameKeys, readSegment } from './document.js'
import { copyButton, element, notice } from './dom.js'
import { directionOf, meaningOf, moment, placeOf, textOf, visible } from './words.js'

/** @typedef {import('./difference.js').Difference} Difference */
/** @typedef {import('./document.js').Json} Json */
/** @typedef {import('./document.js').JsonObject} JsonObject */
/** @typedef {import('./document.js').Shown} Shown */

/** A longer list of like lines is folded. */
const LINES_SHOWN_MAX = 12

/**
 * A charter against the one in force.
 * @param {JsonObject} next
 * @param {JsonObject} base
 */
export async function renderChanges(next, base) {
  const { version: _, iat: written, ...after } = next
  const { version: __, iat: ___, ...before } = base
  const keyName = await nameKeys([before, after])
  const found = differences(before, after, keyName)
  const count = found.length === 1 ? '1 change' : `${found.length} changes`
  const heading = element('h2', { id: 'changes' }, 'What changes')
  const about = `${count}, written ${moment(Number(written))}. Read from the text that will be signed.`
  return element(
    'section',
    { 'aria-labelledby': 'changes', class: 'sheet' },
    heading,
    element('p', { class: 'quiet' }, about),
    found.length === 0
      ? notice('note', 'Nothing but its number and its date differs from the charter in force.')
      : renderDifferences(found, [before, after], keyName),
  )
}

/**
 * @param {readonly Difference[]} found
 * @param {readonly [before: Json, after: Json]} documents in which they were found
 * @param {(item: Json | undefined) => string | undefined} keyName
 */
function renderDifferences(found, documents, keyName) {
  /** @type {(value: Json | undefined, name: string) => string} */
  const say = (value, name) => keyName(value) ?? textOf(value, name)
  const sections = Map.groupBy(found, ({ path }) => placeOf(path).section)
  return element(
    'div',
    {},
    ...[...sections].map(([title, within]) => renderSection(title, within, documents, say)),
  )
}

/**
 * @param {string} title
 * @param {readonly Difference[]} found
 * @param {readonly [before: Json, after: Json]} documents
 * @param {(value: Json | undefined, name: string) => string} say
 */
function renderSection(title, found, documents, say) {
  const things = Map.groupBy(found, ({ path }) => placeOf(path).thing)
  // What belongs to no thing would be taken for the last one's.
  const inOrder = [...things].sort(
    ([one], [other]) => Number(one !== undefined) - Number(other !== undefined),
  )
  return element(
    'div',
    { class: 'group' },
    element('h3', {}, title),
    ...inOrder.flatMap(([thing, within]) => {
      const fate = fateOf(within[0]?.path ?? [], documents)
      const rows = Map.groupBy(
        within.filter(({ path }) => fate === undefined || !isName(path)),
        ({ path }) => JSON.stringify(path),
      )
      return [
        thing !== undefined &&
          element('h4', {}, thing, fate !== undefined && element('span', { class: `tag ${fate}` }, fate)),
        element('dl', { class: 'changes' }, ...[...rows.values()].map((row) => renderRow(row, say))),
      ]
    }),
  )
}

/**
 * Whether an operator, a witness or a realm comes or goes as a whole.
 * @param {readonly string[]} path
 * @param {readonly [before: Json, after: Json]} documents
 */
function fateOf([top = '', name], [before, after]) {
  if (name === undefined || !['operators', 'witnesses', 'realms'].includes(top)) return undefined
  if (!hasThing(before, top, name)) return 'new'
  return hasThing(after, top, name) ? undefined : 'removed'
}

/**
 * @param {Json} document
 * @param {string} top
 * @param {string} name
 */
function hasThing(document, top, name) {
  const things = isObject(document) ? document[top] : undefined
  if (!Array.isArray(things)) return isObject(things) && Object.hasOwn(things, name)
  return things.some((thing) => isObject(thing) && (thing['id'] === name || thing['name'] === name))
}

/**
 * The name of what comes or goes stands above it already.
 * @param {readonly string[]} path
 */
function isName([top = '', , member = '', ...rest]) {
  return top !== 'realms' && ['id', 'name'].includes(member) && rest.length === 0
}

/**
 * All that differs in one place.
 * @param {readonly Difference[]} found
 * @param {(value: Json | undefined, name: string) => string} say
 */
function renderRow(found, say) {
  const { rest } = placeOf(found[0]?.path ?? [])
  const meaning = meaningOf(rest)
  const code = element('code', {}, visible(rest.join('.')))
  const title = element('dt', {}, meaning ?? '', meaning !== undefined && ' ', code)
  const values = found.flatMap((difference) => renderValues(difference, say))
  if (values.length <= LINES_SHOWN_MAX) return element('div', { class: 'row' }, title, ...values)
  const come = found.filter(({ after }) => after !== undefined).length
  const gone = found.filter(({ before }) => before !== undefined).length
  const summary = element('summary', {}, `${come} added, ${gone} removed: show each`)
  return element(
    'div',
    { class: 'row' },
    title,
    element(
      'dd',
      {},
      element(
        'details',
        {},
        summary,
        ...values.map((value) => element('div', { class: value.className }, ...value.childNodes)),
      ),
    ),
  )
}

/**
 * @param {Difference} difference
 * @param {(value: Json | undefined, name: string) => string} say
 */
function renderValues({ path, before, after, order }, say) {
  const name = path.at(-1) ?? ''
  if (order !== undefined) {
    return [element('dd', { class: 'order' }, 'In this order: ', order.map(visible).join(', '))]
  }
  const direction = directionOf(before, after, name)
  return [
    before !== undefined && renderValue('before', '−', 'no longer: ', say(before, name)),
    after !== undefined && renderValue('after', '+', 'from now on: ', say(after, name), direction),
  ].filter((value) => value !== false)
}

/**
 * @param {'before' | 'after'} kind
 * @param {string} sign
 * @param {string} spoken for those who hear the page
 * @param {string} text
 * @param {string} [more]
 */
function renderValue(kind, sign, spoken, text, more) {
  return element(
    'dd',
    { class: kind },
    element('span', { class: 'sign', 'aria-hidden': 'true' }, sign),
    element('span', {}, element('span', { class: 'spoken' }, spoken), text),
    more !== undefined && element('span', { class: 'tag' }, more),
  )
}

/**
 * An approval, member by member, and how the manifest in force describes the keys that it names.
 * @param {JsonObject} payload
 */
export async function renderAct(payload) {
  const { op, reason, proposer, iat, exp, jti, charter_version: under, ...target } = payload
  const others = { reason, proposer, iat, exp, charter_version: under, op, jti }
  const facts = Object.entries({ ...target, ...others }).map(([name, value]) => [
    element('dt', {}, meaningOf([name]) ?? '', ' ', element('code', {}, visible(name))),
    ...[value].flat().map((item) => element('dd', { class: `of-${visible(name)}` }, textOf(item, name))),
  ])
  const kids = [target['kid'], target['kids'] ?? []].flat().filter((kid) => typeof kid === 'string')
  return element(
    'section',
    { 'aria-labelledby': 'changes', class: 'sheet' },
    element('h2', { id: 'changes' }, 'What is approved'),
    element('dl', { class: 'facts' }, ...facts.flat()),
    ...(await describeKeys(kids)),
  )
}

/** @param {readonly string[]} kids */
async function describeKeys(kids) {
  if (kids.length === 0) return []
  const keys = await readKeys()
  if (keys === undefined) return [notice('note', 'The manifest in force could not be read.')]
  const lines = kids.map((kid) =>
    element('li', {}, element('code', {}, visible(kid)), describeKey(keys.find((key) => key['kid'] === kid))),
  )
  return [element('h3', {}, 'In the manifest in force'), element('ul', { class: 'plain' }, ...lines)]
}

/** @returns {Promise<readonly JsonObject[] | undefined>} */
async function readKeys() {
  try {
    const { payload } = await ask('/manifest')
    return /** @type {readonly JsonObject[]} */ (readSegment(payload).payload['keys'])
  } catch {
    return undefined
  }
}

/** @param {JsonObject | undefined} key */
function describeKey(key) {
  if (key === undefined) return ': no such key.'
  const { state, realm, iss, blocked } = key
  const about = `: ${textOf(state, 'state')}, of realm ${textOf(realm, 'realm')}, for ${textOf(iss, 'iss')}`
  if (!isObject(blocked)) return `${about}.`
  const { at, by, reason } = blocked
  return `${about}; blocked at ${textOf(at, 'blocked_at')} by ${textOf(by, 'by')}: ${textOf(reason, 'reason')}`
}

/** @param {Shown} shown */
export function renderPayload(shown) {
  return element(
    'details',
    { class: 'sheet' },
    element('summary', {}, 'The whole document, as it is signed'),
    element(
      'pre',
      { tabindex: '0' },
      JSON.stringify(shown.payload, null, 2).split('\n').map(visible).join('\n'),
    ),
    copyButton('Copy as it is signed', () => shown.text),
  )
}

/**
 * What the authority says of it. What a charter ends among the keys in use, it alone says, so that is not folded away.
 * @param {'charter' | 'approval'} kind
 * @param {readonly string[]} changes
 */
export function renderOtherWords(kind, changes) {
  const ofKeys = kind === 'approval' ? [] : changes.filter((line) => /^(key|NO KEY) /.test(line))
  const note = 'These words are the authority’s, and not part of what is signed.'
  const fold = element(
    'details',
    { class: 'sheet' },
    element('summary', {}, 'The same in the words of the authority'),
    element('p', { class: 'quiet' }, note),
    element('ul', { class: 'plain' }, ...changes.map(renderLine)),
  )
  if (ofKeys.length === 0) return [fold]
  const ends = element(
    'section',
    { class: 'sheet', 'aria-labelledby': 'ends' },
    element('h2', { id: 'ends' }, 'What it means for the keys in use'),
    element('p', { class: 'quiet' }, note),
    element('ul', { class: 'plain' }, ...ofKeys.map(renderLine)),
  )
  return [ends, fold]
}

/** @param {string} line */
function renderLine(line) {
  return element('li', {}, visible(line))
}

/** @param {string} segment */
export async function renderFingerprint(segment) {
  const cells = (await fingerprint(segment)).map((group) => element('span', {}, group))
  return element(
    'section',
    { class: 'sheet', 'aria-labelledby': 'hash' },
    element('h2', { id: 'hash' }, 'Hash of the document'),
    element('p', { class: 'groups', id: 'groups' }, ...cells.flatMap((cell) => [cell, ' '])),
    element(
      'p',
      { class: 'quiet' },
      'Whoever approves this very document sees these sixteen groups. Read them to each other.',
    ),
  )
}
