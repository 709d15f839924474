/**
 * Reads what a signed payload says, member by member, and refuses what is left over: a member that this version does
 * not know may be a limit that it would fail to keep.
 * @module
 */

import { DocumentRefusal } from './document.ts'
import { isObject, type JsonObject, type JsonValue } from './json.ts'
import { each } from './suspension.ts'

/** Later than this, a number of seconds is a number of milliseconds. */
export const SECONDS_MAX = 2 ** 36

/** The name of a key: its RFC 7638 thumbprint. */
export const keyName = /^[A-Za-z0-9_-]{43}$/
/** Words of a person on one line. */
export const sentence = /^[^\p{C}]{1,512}$/u
/** What somebody else calls an issuer, a key, a tenant or a subject of theirs. */
export const foreignName = /^[^\p{C}]{1,512}$/u

export class Members {
  readonly path: string
  readonly #members: JsonObject
  readonly #read = new Set<string>()

  constructor(value: JsonValue | undefined, path: string) {
    if (!isObject(value)) throw new DocumentRefusal('malformed', `${path} is not an object`)
    this.path = path
    this.#members = value
  }

  has(name: string): boolean {
    return Object.hasOwn(this.#members, name)
  }

  text(name: string, pattern: RegExp = /^.{1,1024}$/su): string {
    return readText(this.value(name), this.at(name), pattern)
  }

  oneOf<Word extends string>(name: string, words: readonly Word[]): Word {
    return readWord(this.value(name), this.at(name), words)
  }

  integer(name: string, least: number, most: number): number {
    const value = this.value(name)
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < least || value > most) {
      throw new DocumentRefusal('malformed', `${this.at(name)} is not an integer in its range`)
    }
    return value
  }

  /** Seconds since the epoch. */
  time(name: string): number {
    return this.integer(name, 0, SECONDS_MAX)
  }

  list<Item>(
    name: string,
    read: (value: JsonValue, path: string) => Item,
    { least = 0, most = 1024 }: { readonly least?: number; readonly most?: number } = {},
  ): readonly Item[] {
    const value = this.value(name)
    if (!Array.isArray(value) || value.length < least || value.length > most) {
      throw new DocumentRefusal('malformed', `${this.at(name)} is not a list of a length in its range`)
    }
    return each(value as readonly JsonValue[], (item, index) => read(item, `${this.at(name)}[${index}]`))
  }

  /** A list that is read as a set: nothing stands in it twice. */
  set(name: string, pattern: RegExp, least = 1): readonly string[] {
    return this.#distinct(
      name,
      this.list(name, (value, path) => readText(value, path, pattern), { least }),
    )
  }

  /** A set of words out of those given. */
  setOf<Word extends string>(name: string, words: readonly Word[]): readonly Word[] {
    return this.#distinct(
      name,
      this.list(name, (value, path) => readWord(value, path, words), { least: 1 }),
    )
  }

  object(name: string): Members {
    return new Members(this.value(name), this.at(name))
  }

  value(name: string): JsonValue | undefined {
    this.#read.add(name)
    return this.has(name) ? this.#members[name] : undefined
  }

  /** The names of a member that is a map. Each must be read like any other. */
  names(): readonly string[] {
    return Object.keys(this.#members)
  }

  at(name: string): string {
    return `${this.path}.${name}`
  }

  /** Refuses the document if it has a member that was not read. */
  end(): void {
    for (const name of Object.keys(this.#members)) {
      if (!this.#read.has(name)) throw new DocumentRefusal('malformed', `${this.path} has an unknown member`)
    }
  }

  #distinct<Item>(name: string, items: readonly Item[]): readonly Item[] {
    if (new Set(items).size < items.length) {
      throw new DocumentRefusal('malformed', `${this.at(name)} names something twice`)
    }
    return items
  }
}

function readText(value: JsonValue | undefined, path: string, pattern: RegExp): string {
  if (typeof value !== 'string' || !pattern.test(value)) {
    throw new DocumentRefusal('malformed', `${path} is not a text of its form`)
  }
  return value
}

function readWord<Word extends string>(
  value: JsonValue | undefined,
  path: string,
  words: readonly Word[],
): Word {
  const word = words.find((candidate) => candidate === value)
  if (word === undefined) throw new DocumentRefusal('malformed', `${path} is not one of the words allowed`)
  return word
}
