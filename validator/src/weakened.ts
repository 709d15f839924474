/**
 * A check that somebody leaves out: by an option whose name is a symbol, so that no file of settings can have it by
 * accident, and whose value says why. It is warned of at each start.
 * @module
 */

import { warn } from '#platform'

/** Whether `option` is given. Throws `TypeError` where it is given without a reason. */
export function isWeakened(option: symbol, reason: string | undefined, consequence: string): boolean {
  if (reason === undefined) return false
  if (typeof reason !== 'string' || reason === '')
    throw new TypeError(`${String(option.description)} needs its reason`)
  warn(`${consequence}: ${reason}`)
  return true
}
