/** Rows under a heading, each column as wide as its widest cell; the last one ends where its text does. */
export function formatTable(heading: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [heading, ...rows]
  const widths = heading.map((_, column) => Math.max(...all.map((row) => (row[column] ?? '').length)))
  const format = (row: readonly string[]): string =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd()
  return all.map(format).join('\n')
}

/** A table under what it is about, indented; an empty one in a line. */
export function formatSection(
  title: string,
  heading: readonly string[],
  rows: readonly (readonly string[])[],
): string {
  if (rows.length === 0) return `${title}: none\n`
  return `${title}\n${formatTable(heading, rows).replaceAll(/^/gm, '  ')}\n`
}

/** A moment, in milliseconds since the epoch, for a cell: UTC, to the second. */
export function formatMoment(milliseconds: number): string {
  return new Date(milliseconds).toISOString().slice(0, 19).replace('T', ' ')
}

/** More would bury the line that they stand in. */
const NAMES_MAX = 6

/** Names in a sentence: all of them, or the first and how many more there are. */
export function formatNames(names: readonly string[]): string {
  const others = names.length - NAMES_MAX
  return others > 1 ? `${names.slice(0, NAMES_MAX).join(', ')} and ${others} others` : names.join(', ')
}
