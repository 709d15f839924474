/**
 * What services say while they run, as a person at a terminal reads it. Into a file or a pipe their JSON lines go as
 * they are, for whatever collects them.
 * @module
 */

import { styleText } from 'node:util'

const ERROR = 50

const levels: Readonly<Record<number, 'red' | 'yellow' | 'dim'>> = { 60: 'red', 50: 'red', 40: 'yellow' }

/** On every line, and either shown otherwise or of no use here. */
const COMMON = ['level', 'time', 'pid', 'hostname', 'name', 'msg']

/**
 * While not all services are there, each misses the others and says so; a start that fails tells what was said. While
 * they stop, the same again, and only errors are for somebody to read.
 */
export type Phase = 'starting' | 'running' | 'stopping'

/** Whether a line that came in this phase is shown. What is no line of ours counts as an error. */
export function isShown(line: string, phase: Phase): boolean {
  if (phase === 'starting') return false
  return phase === 'running' || (parseEvent(line)?.level ?? ERROR) >= ERROR
}

/** `12:00:01 gateway  trust is not up to date  problem="…"`; what is no line of ours stays as it is. */
export function formatEvent(label: string, line: string): string {
  const event = parseEvent(line)
  if (event === undefined) return `${label}: ${printable(line)}`
  const { level, time, msg } = event
  const rest = Object.entries(event).filter(([name]) => !COMMON.includes(name))
  const clock = new Date(time).toTimeString().slice(0, 8)
  return [
    styleText('dim', clock),
    styleText(levels[level] ?? 'dim', label.padEnd(10)),
    printable(msg),
    ...rest.map(([name, value]) => styleText('dim', `${name}=${formatValue(value)}`)),
  ].join(' ')
}

/** What a line says, for a sentence that tells the rest. */
export function messageOf(line: string): string {
  return printable(parseEvent(line)?.msg ?? line)
}

interface Event {
  readonly level: number
  /** Milliseconds since the epoch. */
  readonly time: number
  readonly msg: string
}

function parseEvent(line: string): Event | undefined {
  try {
    const { level, time, msg, ...rest } = JSON.parse(line) as Partial<Event>
    if (typeof level !== 'number' || typeof time !== 'number' || typeof msg !== 'string') return undefined
    return { level, time, msg, ...rest }
  } catch {
    return undefined
  }
}

function formatValue(value: unknown): string {
  const isWord = typeof value === 'string' && /^[\w.:/@+-]+$/.test(value)
  return isWord ? value : printable(JSON.stringify(value) ?? '')
}

/** Something that came from outside may hold what a terminal would obey (T027). */
export function printable(text: string): string {
  return text.replaceAll(
    /[^\P{C}\t\n]/gu,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}
