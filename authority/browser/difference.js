/**
 * What a document changes. Nothing is left out: each part that differs has an entry, whether anybody here knows it or
 * not. Pure.
 * @module
 */

import { isObject } from './document.js'

/** @typedef {import('./document.js').Json} Json */
/** @typedef {import('./document.js').JsonObject} JsonObject */

/**
 * One difference. An item that a list gains or loses has the path of the list.
 * @typedef {object} Difference
 * @property {readonly string[]} path
 * @property {Json} [before] left out where there was nothing
 * @property {Json} [after] left out where there will be nothing
 * @property {readonly string[]} [order] of the items, where that is what differs
 */

/** The order of these says who comes first, or last. */
const ordered = new Set(['signers', 'algs', 'manifest_keys'])

/**
 * @param {Json | undefined} before
 * @param {Json | undefined} after
 * @param {(item: Json | undefined) => string | undefined} keyName what a public key is called; undefined for what is none
 * @param {readonly string[]} path
 * @returns {readonly Difference[]}
 */
export function differences(before, after, keyName, path = []) {
  if (canonical(before) === canonical(after)) return []
  const left = before === undefined ? likeOf(after) : before
  const right = after === undefined ? likeOf(before) : after
  const hasParts = [left, right].every((item) => hasMembers(item) && keyName(item) === undefined)
  // An empty list that comes or goes has no items that could tell of it.
  const isTold = !(before === undefined && isEmpty(after)) && !(after === undefined && isEmpty(before))
  if (hasParts && isTold) {
    if (Array.isArray(left) && Array.isArray(right)) return listDifferences(left, right, keyName, path)
    if (isObject(left) && isObject(right)) {
      const names = new Set([...Object.keys(left), ...Object.keys(right)])
      return [...names].flatMap((name) =>
        differences(memberOf(left, name), memberOf(right, name), keyName, [...path, name]),
      )
    }
  }
  return [leaf(before, after, path)]
}

/**
 * @param {readonly Json[]} before
 * @param {readonly Json[]} after
 * @param {(item: Json | undefined) => string | undefined} keyName
 * @param {readonly string[]} path
 * @returns {readonly Difference[]}
 */
function listDifferences(before, after, keyName, path) {
  const [left, right] = [byName(before, keyName), byName(after, keyName)]
  const names = new Set([...left.keys(), ...right.keys()])
  const entries = [...names].flatMap((name) => {
    const [item, next] = [left.get(name), right.get(name)]
    const either = item === undefined ? next : item
    const isNamed = isObject(either) && keyName(either) === undefined
    if (isNamed || (item !== undefined && next !== undefined)) {
      return differences(item, next, keyName, [...path, name])
    }
    return [leaf(item, next, path)]
  })
  const order = [...right.keys()]
  const tellsOrder = ordered.has(path.at(-1) ?? '') && before.length > 0 && after.length > 1
  return tellsOrder || isReordered([...left.keys()], order) ? [...entries, { path, order }] : entries
}

/**
 * Items by what people know them by; those of one name, which would hide each other, by their place too.
 * @param {readonly Json[]} items
 * @param {(item: Json | undefined) => string | undefined} keyName
 */
function byName(items, keyName) {
  /** @type {Map<string, Json>} */
  const named = new Map()
  for (const item of items) {
    const own = isObject(item) ? (item['id'] ?? item['name']) : item
    const name = typeof own === 'string' ? own : (keyName(item) ?? JSON.stringify(item))
    let free = name
    for (let count = 2; named.has(free); count++) free = `${name} (${count})`
    named.set(free, item)
  }
  return named
}

/**
 * Whether what stands in both stands in another order.
 * @param {readonly string[]} before
 * @param {readonly string[]} after
 */
function isReordered(before, after) {
  const stayed = before.filter((name) => after.includes(name))
  return after.filter((name) => before.includes(name)).some((name, at) => stayed[at] !== name)
}

/**
 * @param {Json | undefined} before
 * @param {Json | undefined} after
 * @param {readonly string[]} path
 * @returns {Difference}
 */
function leaf(before, after, path) {
  return { path, ...(before !== undefined && { before }), ...(after !== undefined && { after }) }
}

/** @param {Json | undefined} item */
function likeOf(item) {
  return Array.isArray(item) ? [] : isObject(item) ? {} : undefined
}

/** @param {Json | undefined} item */
function hasMembers(item) {
  return typeof item === 'object' && item !== null
}

/** @param {Json | undefined} item */
function isEmpty(item) {
  return typeof item === 'object' && item !== null && Object.keys(item).length === 0
}

/**
 * @param {JsonObject} object
 * @param {string} name
 */
function memberOf(object, name) {
  return Object.hasOwn(object, name) ? object[name] : undefined
}

/**
 * The same text for the same content, in whatever order its members stand.
 * @param {Json | undefined} item
 */
function canonical(item) {
  return JSON.stringify(item, (_name, part) =>
    isObject(part) ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1))) : part,
  )
}
