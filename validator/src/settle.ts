/**
 * Lets what is decided synchronously wait for signatures. The work runs until it meets a signature that nobody has looked at,
 * and is left there; the signature is verified elsewhere, by a thread or by the runtime; then the work runs again from its
 * beginning, by the world as it is by then, and finds the answer. So there is one core for every runtime, and a kill that comes
 * while a signature is being verified counts.
 *
 *     const token = await settle(() => validator.validate(bearer))
 *
 * What is run changes nothing before its last signature, and does not mind being begun several times.
 * @module
 */

import type { KeyObject } from 'node:crypto'
import { sameBytes, verifyLater } from '#platform'
import { answeredBy } from './jws.ts'
import { type SignatureQuestion, Suspension } from './suspension.ts'

/** Each round answers questions that were not asked before. More than any work of ours asks for, in the worst of worlds. */
const ROUNDS_MAX = 256

/** What is known of signatures, by the very bytes that were asked about. */
export class Asked<Value> {
  /** By a few bytes of the signature, so that a long list is not looked through for each. */
  readonly #lists = new Map<number, (readonly [question: SignatureQuestion, value: Value])[]>()

  get(...question: SignatureQuestion): Value | undefined {
    return this.#lists.get(shortName(question))?.find(([known]) => isSame(known, question))?.[1]
  }

  set(value: Value, ...question: SignatureQuestion): void {
    const name = shortName(question)
    const list = this.#lists.get(name)
    if (list === undefined) this.#lists.set(name, [[question, value]])
    else list.push([question, value])
  }

  delete(...question: SignatureQuestion): void {
    const name = shortName(question)
    const others = this.#lists.get(name)?.filter(([known]) => !isSame(known, question)) ?? []
    if (others.length === 0) this.#lists.delete(name)
    else this.#lists.set(name, others)
  }
}

/** Whether signatures are good, as it was found out. */
export type Answers = Asked<boolean>

/**
 * What `work` gives or throws once it knows of every signature that it asks for. Rejects as well where `verify` does. Give the
 * same `answers` to works that ask about the same signatures.
 */
export async function settle<Result>(
  work: () => Result,
  verify: typeof verifyLater = verifyLater,
  answers: Answers = new Asked(),
): Promise<Awaited<Result>> {
  const answer = (...question: SignatureQuestion): boolean => {
    const isSigned = answers.get(...question)
    if (isSigned === undefined) throw new Suspension([question])
    return isSigned
  }
  for (let round = 0; round < ROUNDS_MAX; round++) {
    try {
      return await answeredBy(answer, work)
    } catch (thrown) {
      if (!(thrown instanceof Suspension)) throw thrown
      await Promise.all(
        thrown.questions.map(async (question) => answers.set(await verify(...question), ...question)),
      )
    }
  }
  throw new Error(`there is no end to the signatures: ${ROUNDS_MAX} rounds of them were verified`)
}

function shortName([, , , signature]: SignatureQuestion): number {
  return (signature[3] ?? 0) * 2 ** 16 + (signature[4] ?? 0) * 2 ** 8 + (signature[5] ?? 0)
}

/** Whether nobody could answer one otherwise than the other. */
function isSame(one: SignatureQuestion, other: SignatureQuestion): boolean {
  const [algorithm, key, input, signature] = one
  return (
    algorithm === other[0] &&
    isSameInput(input, other[2]) &&
    sameBytes(signature, other[3]) &&
    (key === other[1] || nameOf(key) === nameOf(other[1]))
  )
}

function isSameInput(one: string | Uint8Array, other: string | Uint8Array): boolean {
  if (typeof one === 'string' || typeof other === 'string') return one === other
  return sameBytes(one, other)
}

const keyNames = new WeakMap<KeyObject, string>()

/** By its members: a document that is read again has other objects for the same keys. */
function nameOf(key: KeyObject): string {
  let name = keyNames.get(key)
  if (name === undefined) {
    const { kty, crv, x, y, n, e, pub } = key.export({ format: 'jwk' }) as Record<string, unknown>
    name = [kty, crv, x, y, n, e, pub].join('.')
    keyNames.set(key, name)
  }
  return name
}
