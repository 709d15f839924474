/**
 * Goal: whoever asks for a service's numbers gets them as Prometheus reads them, and as they are then. Method: one number of each
 * kind, asked for twice over HTTP.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Numbers, serveNumbers } from './metrics.ts'
import { createHttp, createLog } from './service.ts'

test('numbers are given in the text format, those that are read or refreshed as of now', async () => {
  const numbers = new Numbers()
  const decisions = numbers.counter('decisions_total', 'Decisions', ['verdict'])
  const silent = numbers.gauge('silent', 'Who is silent')
  const seconds = numbers.histogram('decision_seconds', 'How long it took', [0.001, 1])
  let connections = 0
  numbers.reading('connections', 'Open connections', async () => ++connections)
  const http = createHttp(createLog('test'))
  let asked = 0
  serveNumbers(http, numbers, () => silent.set(10 * ++asked))
  decisions.inc({ verdict: 'accepted' })
  seconds.observe(0.5)
  for (const time of [1, 2]) {
    const { body, headers } = await http.inject('/metrics')
    assert.match(String(headers['content-type']), /^text\/plain; version=0\.0\.4/)
    const lines = body.split('\n')
    for (const line of [
      '# TYPE decisions_total counter',
      'decisions_total{verdict="accepted"} 1',
      'decision_seconds_bucket{le="0.001"} 0',
      'decision_seconds_bucket{le="1"} 1',
      `connections ${time}`,
      `silent ${10 * time}`,
    ])
      assert.ok(lines.includes(line), `${line} is missing:\n${body}`)
  }
  assert.doesNotMatch((await http.inject('/metrics')).body, /process_cpu/)
  numbers.addProcess()
  assert.match((await http.inject('/metrics')).body, /^process_cpu_seconds_total /m)
})
