/**
 * Options that somebody gave by name. One with a typing error in its name is a limit that nobody keeps.
 * @module
 */

/** Throws `TypeError` where `maker` was given an option that it does not know. */
export function refuseUnknown(maker: string, options: object, known: ReadonlySet<string | symbol>): void {
  for (const name of Reflect.ownKeys(options)) {
    if (!known.has(name)) throw new TypeError(`${maker} knows no option ${String(name)}`)
  }
}
