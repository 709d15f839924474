/**
 * Headers as they arrived, name and value in turn (Node's `rawHeaders`): a parsed object has already dropped or joined
 * what came several times, and the next program on the path may have chosen another.
 * @module
 */

/** Every value of a header. `name` in lower case. */
export function headerValues(rawHeaders: readonly string[], name: string): readonly string[] {
  return rawHeaders.filter((_, at) => at % 2 === 1 && rawHeaders[at - 1]?.toLowerCase() === name)
}
