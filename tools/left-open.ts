/**
 * Loaded into each process of the tests. One that has run its last test and does not end has left something open, most often
 * because a test failed before it could close it: it is ended, and what was open is named, where the whole run would hang.
 * @module
 */

/** What was closed in good order is gone long before. */
const GRACE_MILLISECONDS = 15_000

// The process that starts the others has no tests of its own.
if (process.env['NODE_TEST_CONTEXT'] !== undefined) {
  const { after } = await import('node:test')
  after(() => {
    setTimeout(endWhatIsLeft, GRACE_MILLISECONDS).unref()
  })
}

function endWhatIsLeft(): void {
  const open = [...new Set(process.getActiveResourcesInfo())].join(', ')
  console.error(`left open ${GRACE_MILLISECONDS / 1000} s after the last test of ${process.argv[1]}: ${open}`)
  process.exit(1)
}
