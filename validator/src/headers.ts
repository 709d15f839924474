/**
 * Headers as they arrived, name and value in turn (Node's `rawHeaders`): a parsed object has already dropped or joined
 * what came several times, and the next program on the path may have chosen another.
 * @module
 */

/** Every value of a header. `name` in lower case. */
export function headerValues(rawHeaders: readonly string[], name: string): readonly string[] {
  const values: string[] = []
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) {
    const each = rawHeaders[at] as string
    // Asked several times of each request: most names differ in length already.
    if (each.length !== name.length || each.toLowerCase() !== name) continue
    values.push(rawHeaders[at + 1] as string)
  }
  return values
}
