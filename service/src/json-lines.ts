/**
 * Where in a JSON text each member stands, so that what is wrong with it can be shown by line. Reads what `JSON.parse` has
 * taken; it decides nothing about values.
 * @module
 */

/** From the top: names of members, and places in lists. */
export type Path = readonly (string | number)[]

export interface JsonLines {
  /** The line of a member or, where it is left out, of what it would stand in. The first line is 1. */
  lineOf(path: Path): number
  /** The first member that stands in its object a second time. */
  readonly repeated: { readonly path: Path; readonly line: number } | undefined
}

/** Strings, marks, and everything else that holds together. */
const tokens = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s"{}[\],:]+/g

interface Open {
  readonly path: Path
  readonly isObject: boolean
  /** Of the member or element that is being read. */
  at: string | number
  isName: boolean
}

export function readJsonLines(text: string): JsonLines {
  const lines = new Map<string, number>([[nameOf([]), 1]])
  const open: Open[] = []
  let repeated: JsonLines['repeated']
  let line = 1
  let read = 0

  function begin(path: Path, isMember: boolean): void {
    if (isMember && lines.has(nameOf(path))) repeated ??= { path, line }
    lines.set(nameOf(path), line)
  }

  for (const { 0: token, index } of text.matchAll(tokens)) {
    line += countBreaks(text, read, index)
    read = index
    const inside = open.at(-1)
    if (token === '}' || token === ']') open.pop()
    else if (token === ',') advance(inside)
    else if (token === ':') continue
    else if (inside?.isName) {
      inside.at = JSON.parse(token) as string
      inside.isName = false
      begin([...inside.path, inside.at], true)
    } else {
      const path = inside === undefined ? [] : [...inside.path, inside.at]
      if (inside?.isObject === false) begin(path, false)
      if (token === '{') open.push({ path, isObject: true, at: '', isName: true })
      if (token === '[') open.push({ path, isObject: false, at: 0, isName: false })
    }
  }
  return {
    lineOf: (path) => {
      for (let length = path.length; length > 0; length--) {
        const found = lines.get(nameOf(path.slice(0, length)))
        if (found !== undefined) return found
      }
      return 1
    },
    repeated,
  }
}

function advance(inside: Open | undefined): void {
  if (inside === undefined) return
  if (inside.isObject) inside.isName = true
  else inside.at = Number(inside.at) + 1
}

function countBreaks(text: string, from: number, to: number): number {
  let count = 0
  for (let at = text.indexOf('\n', from); at !== -1 && at < to; at = text.indexOf('\n', at + 1)) count++
  return count
}

function nameOf(path: Path): string {
  return JSON.stringify(path)
}
