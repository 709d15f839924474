/**
 * Goal: the pictures in the documents can be read, by day and by night. Method: Chromium lays each one out in a light
 * and in a dark scheme; every text must stay in the picture and in the box that it labels, and stand out against what is
 * behind it (WCAG 2.2, contrast of at least 4.5).
 */

import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { test } from 'node:test'
import { chromium } from 'playwright-core'
import { readSources } from '../tools/source.ts'
import { CONTRAST_MIN, contrast } from './contrast.ts'

const CHROMIUM = '/usr/bin/chromium'

const skip = existsSync(CHROMIUM)
  ? false
  : `there is no ${CHROMIUM}; tools/debian.sh installs it where it may`

test('pictures: every text is legible in a light and in a dark scheme', { skip }, async () => {
  const pictures = readSources('docs/pictures/*.svg')
  assert.ok(pictures.size > 0)
  // Chromium's own sandbox does not start as root, and what is shown here is ours.
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] })
  try {
    for (const colorScheme of ['light', 'dark'] as const) {
      const page = await browser.newPage({ colorScheme })
      for (const [path, svg] of pictures) {
        await page.setContent(svg)
        const texts = await page.evaluate(readTexts)
        assert.ok(texts.length > 0)
        for (const { text, fits, ink, ground } of texts) {
          assert.ok(fits, `${path}: "${text}" does not fit`)
          const ratio = contrast(ink, ground)
          assert.ok(
            ratio >= CONTRAST_MIN,
            `${path}, ${colorScheme}: "${text}" has a contrast of ${ratio.toFixed(1)}`,
          )
        }
      }
    }
  } finally {
    await browser.close()
  }
})

test('pictures: the measure of contrast is that of WCAG', () => {
  assert.equal(contrast('rgb(0, 0, 0)', 'rgb(255, 255, 255)'), 21)
  assert.equal(contrast('rgb(119, 119, 119)', 'rgb(255, 255, 255)').toFixed(2), '4.48')
})

interface ShownText {
  readonly text: string
  /** Inside the picture, and inside the box on which it begins. */
  readonly fits: boolean
  readonly ink: string
  readonly ground: string
}

interface Shape {
  readonly textContent: string | null
  getBoundingClientRect(): Record<'left' | 'right' | 'top' | 'bottom', number>
}

/** What of a browser's page is used here; the project's own code runs in none. */
declare const document: { querySelectorAll(selector: string): Iterable<Shape> }
declare const getComputedStyle: (shape: Shape) => { readonly fill: string }

/** Runs in the page. */
function readTexts(): ShownText[] {
  const boxes = [...document.querySelectorAll('rect')]
  return [...document.querySelectorAll('text')].map((text) => {
    const { left, right, top, bottom } = text.getBoundingClientRect()
    const holds = (box: Shape, x: number, y: number): boolean => {
      const edge = box.getBoundingClientRect()
      return x >= edge.left && x <= edge.right && y >= edge.top && y <= edge.bottom
    }
    // Later boxes are painted over earlier ones; the first is the whole picture.
    const behind = boxes.filter((box) => holds(box, (left + right) / 2, (top + bottom) / 2)).at(-1)
    return {
      text: text.textContent ?? '',
      fits: behind !== undefined && holds(behind, left, top) && holds(behind, right, bottom),
      ink: getComputedStyle(text).fill,
      ground: behind === undefined ? '' : getComputedStyle(behind).fill,
    }
  })
}
