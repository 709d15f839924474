/**
 * Server-sent events, as the HTML Standard parses them (section 9.2.6), in bounded memory.
 *
 *     event: freshness\n
 *     data: …\n
 *     \n
 * @module
 */

import { DeliveryFault } from './delivery.ts'

export interface ServerEvent {
  readonly type: string
  /** Of this event or, as the standard has it, the last one given before. */
  readonly id: string
  readonly data: string
}

/**
 * A parser for one stream: give it the decoded text as it comes, in pieces of any size, and it gives the events that are
 * complete. Throws `DeliveryFault` when one is longer than `charactersMax`.
 */
export function createEventParser(charactersMax: number): (piece: string) => readonly ServerEvent[] {
  let rest = ''
  let afterReturn = false
  let [type, id, data] = ['', '', '']
  let hasData = false

  /** Takes one line; an empty one ends an event. */
  function take(line: string): ServerEvent | undefined {
    if (line === '') {
      const event = hasData ? { type: type || 'message', id, data } : undefined
      type = data = ''
      hasData = false
      return event
    }
    const colon = line.indexOf(':')
    const field = colon === -1 ? line : line.slice(0, colon)
    const value = colon === -1 ? '' : line.slice(colon + (line[colon + 1] === ' ' ? 2 : 1))
    if (field === 'event') type = value
    // An id with a null character is no id; `retry` is not followed, since how often to ask is not the server's to say.
    if (field === 'id' && !value.includes('\0')) id = value
    if (field === 'data') {
      data = hasData ? `${data}\n${value}` : value
      hasData = true
    }
    return undefined
  }

  return (piece) => {
    if (piece === '') return []
    const text = rest + piece
    const events: ServerEvent[] = []
    let start = 0
    const ends = /\r\n|\n|\r/g
    // What was left over has no line end in it, but for a newline that belongs to a return before.
    if (afterReturn && text.startsWith('\n')) start = 1
    afterReturn = text.endsWith('\r')
    ends.lastIndex = Math.max(start, rest.length)
    for (let end = ends.exec(text); end !== null; end = ends.exec(text)) {
      const event = take(text.slice(start, end.index))
      if (event !== undefined) events.push(event)
      start = ends.lastIndex
      if (data.length + type.length + id.length > charactersMax) throw tooLong()
    }
    rest = text.slice(start)
    if (rest.length + data.length > charactersMax) throw tooLong()
    return events
  }
}

function tooLong(): DeliveryFault {
  return new DeliveryFault('the authority sends an event without end')
}
