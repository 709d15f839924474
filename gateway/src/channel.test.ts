/**
 * Goal: whoever asks another process gets its answer, or learns that none will come; and what is answered late is nobody else's
 * answer. Method: two ends that are wired to each other in one process.
 */

import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import { test } from 'node:test'
import { openChannel, type Wire } from './channel.ts'

function wires() {
  const [one, other] = [new EventEmitter(), new EventEmitter()]
  let isOpen = true
  const end = (own: EventEmitter, far: EventEmitter): Wire => ({
    send: (message, sent) => {
      sent(isOpen ? null : new Error('closed'))
      if (isOpen) setImmediate(() => far.emit('message', JSON.parse(JSON.stringify(message))))
    },
    onMessage: (listener) => void own.on('message', listener),
    onClose: (listener) => void own.on('close', listener),
  })
  const close = (): void => {
    isOpen = false
    for (const each of [one, other]) each.emit('close')
  }
  return { one: end(one, other), other: end(other, one), close }
}

test('both ask and answer, in the order in which they were asked', async () => {
  const { one, other } = wires()
  const order: number[] = []
  const here = openChannel<number, number>(one, (question) => question + 1)
  const there = openChannel<number, number>(other, async (question) => {
    order.push(question)
    if (question === 3) throw new Error('not three')
    return question * 2
  })
  assert.deepEqual(await Promise.all([1, 2].map((question) => here.ask(question))), [2, 4])
  assert.equal(await there.ask(1), 2)
  await assert.rejects(here.ask(3), { message: 'not three' })
  assert.deepEqual(order, [1, 2, 3])
})

test('an answer that comes too late settles nothing else', async () => {
  const { one, other } = wires()
  const { promise, resolve } = Promise.withResolvers<string>()
  openChannel<never, string>(other, (question) => (question === 'slow' ? promise : 'quick'))
  const here = openChannel<string, never>(one, () => {})
  await assert.rejects(here.ask('slow', 5), /in time/)
  const next = here.ask('quick')
  resolve('late')
  assert.equal(await next, 'quick')
})

test('when the other end goes, everybody who waits is told', async () => {
  const { one, other, close } = wires()
  openChannel<never, string>(other, () => new Promise(() => {}))
  const here = openChannel<string, never>(one, () => {})
  const waiting = assert.rejects(here.ask('anything'), /has gone/)
  close()
  await waiting
  await assert.rejects(here.ask('anything'), /has gone/)
})
