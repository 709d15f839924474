/**
 * The authority that served this page, as the page speaks to it.
 * @module
 */

/** @typedef {import('./document.js').JsonObject} JsonObject */

/**
 * What waits for approval. Members that describe the document (`payload`, `changes`) are not read here: the page reads
 * the document itself.
 * @typedef {object} Proposal
 * @property {string} id
 * @property {'charter' | 'approval'} kind
 * @property {string} segment
 * @property {readonly string[]} changes
 * @property {readonly string[]} approved_by the first is who proposed it
 * @property {number} needed
 * @property {number} expires_at
 * @property {'open' | 'carried_out' | 'outdated' | 'expired'} state
 */

/** The authority turned a request down, or did not answer (`unreachable`). */
export class AuthorityProblem extends Error {
  /**
   * @param {string} code
   * @param {string} message
   */
  constructor(code, message) {
    super(message)
    this.code = code
  }
}

/**
 * @param {string} path
 * @param {RequestInit} init
 * @returns {Promise<any>}
 */
export async function ask(path, init = {}) {
  const [status, text] = await exchange(path, init)
  const answer = parse(text)
  if (status < 300) return answer
  throw new AuthorityProblem(answer.error ?? 'invalid_answer', answer.error_description ?? `status ${status}`)
}

/**
 * @param {string} path
 * @param {object} body
 * @returns {Promise<any>}
 */
export function send(path, body) {
  return ask(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
}

/**
 * @param {string} path
 * @param {RequestInit} init
 * @returns {Promise<[status: number, text: string]>}
 */
async function exchange(path, init) {
  try {
    const response = await fetch(path, { ...init, cache: 'no-store', redirect: 'error' })
    return [response.status, await response.text()]
  } catch {
    throw new AuthorityProblem('unreachable', 'the authority does not answer')
  }
}

/** @param {string} text */
function parse(text) {
  try {
    return JSON.parse(text)
  } catch {
    throw new AuthorityProblem('invalid_answer', 'the authority answered something that is not JSON')
  }
}
