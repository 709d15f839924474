/**
 * What a stranger deploys at an edge, run to completion once: it is given an authority, a folder with the trust anchor, and
 * tokens, and says what it would have answered to each.
 * @module
 */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createEdgeGuard, createEdgeTrust, createEdgeValidator } from '@countersign/validator/edge'

const [authority = '', folder = '', ...tokens] = process.argv.slice(2)
const trustAnchor = JSON.parse(readFileSync(join(folder, 'trust-anchor.json'), 'utf8'))

const trust = createEdgeTrust({ authority, trustAnchor, onProblem: (problem) => console.error(problem) })
const validator = createEdgeValidator({
  realm: 'consumer',
  audience: 'https://mail.countersign.example',
  trust,
})
const guard = createEdgeGuard(validator, { scopes: 'mail.read' })

/** As an edge function has it. */
async function handle(request: Request): Promise<Response> {
  const admission = await guard.admit(request)
  return admission.admitted ? Response.json({ of: admission.token.subject }) : admission.response
}

/** Who verifies here is told apart by this: Node's own functions do not come by. */
let verified = 0
const { subtle } = crypto
const verify = subtle.verify.bind(subtle)
subtle.verify = (...given: Parameters<typeof verify>) => {
  verified++
  return verify(...given)
}

for (const token of tokens) {
  const headers = { authorization: `Bearer ${token}` }
  const response = await handle(new Request('https://mail.example/mail', { headers }))
  console.log(response.status, response.headers.get('x-countersign-reason') ?? 'accepted')
}
console.log(verified > 0 ? 'by the web' : 'by Node')
