/**
 * How well a text stands out against what is behind it, WCAG 2.2.
 * @module
 */

/** Of a text of normal size. */
export const CONTRAST_MIN = 4.5

/** Contrast ratio of two colours as browsers write them, `rgb(r, g, b)`. */
export function contrast(one: string, other: string): number {
  const [darker = 0, lighter = 0] = [luminance(one), luminance(other)].sort((a, b) => a - b)
  return (lighter + 0.05) / (darker + 0.05)
}

/** Relative luminance, WCAG 2.2. */
function luminance(color: string): number {
  const channels = color.match(/\d+/g) ?? []
  const [red = 0, green = 0, blue = 0] = channels.map((channel) => {
    const part = Number(channel) / 255
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4
  })
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue
}
