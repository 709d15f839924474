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
import { encodeBase64url, verifyLater } from '#platform'
import { answeredBy } from './jws.ts'
import { type SignatureQuestion, Suspension } from './suspension.ts'

/** Each round answers questions that were not asked before. More than any work of ours asks for, in the worst of worlds. */
const ROUNDS_MAX = 256

/** What was found out about signatures, by the very bytes that were asked about. */
export class Answers {
  readonly #known = new Map<string, boolean>()

  get(question: SignatureQuestion): boolean | undefined {
    return this.#known.get(nameOf(question))
  }

  set(question: SignatureQuestion, isSigned: boolean): void {
    this.#known.set(nameOf(question), isSigned)
  }
}

/**
 * What `work` gives or throws once it knows of every signature that it asks for. Rejects as well where `verify` does. Give the
 * same `answers` to works that ask about the same signatures.
 */
export async function settle<Result>(
  work: () => Result,
  verify: typeof verifyLater = verifyLater,
  answers: Answers = new Answers(),
): Promise<Awaited<Result>> {
  for (let round = 0; round < ROUNDS_MAX; round++) {
    try {
      return await answeredBy((...asked) => answerTo(questionOf(...asked), answers), work)
    } catch (thrown) {
      if (!(thrown instanceof Suspension)) throw thrown
      await Promise.all(thrown.questions.map((question) => answer(question, verify, answers)))
    }
  }
  throw new Error(`there is no end to the signatures: ${ROUNDS_MAX} rounds of them were verified`)
}

async function answer(
  question: SignatureQuestion,
  verify: typeof verifyLater,
  answers: Answers,
): Promise<void> {
  const { algorithm, key, input, signature } = question
  answers.set(question, await verify(algorithm, key, input, signature))
}

function answerTo(question: SignatureQuestion, answers: Answers): boolean {
  const isSigned = answers.get(question)
  if (isSigned === undefined) throw new Suspension([question])
  return isSigned
}

function questionOf(
  ...[algorithm, key, input, signature]: Parameters<typeof verifyLater>
): SignatureQuestion {
  return { algorithm, key, input, signature }
}

/** The input comes last and is the only part that may hold a space, so that two questions never share a name. */
function nameOf({ algorithm, key, input, signature }: SignatureQuestion): string {
  const [kind, text] = typeof input === 'string' ? ['text', input] : ['bytes', encodeBase64url(input)]
  return `${algorithm} ${nameOfKey(key)} ${encodeBase64url(signature)} ${kind} ${text}`
}

const keyNames = new WeakMap<KeyObject, string>()

/** By its members: a document that is read again has other objects for the same keys. */
function nameOfKey(key: KeyObject): string {
  let name = keyNames.get(key)
  if (name === undefined) {
    const { kty, crv, x, y, n, e, pub } = key.export({ format: 'jwk' }) as Record<string, unknown>
    name = [kty, crv, x, y, n, e, pub].join('.')
    keyNames.set(key, name)
  }
  return name
}
