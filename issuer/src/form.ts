/**
 * A form that a browser or a client posts.
 * @module
 */

import type { IncomingMessage } from 'node:http'
import { errors } from 'oidc-provider'

/** More than the largest token and every other field together. */
const FORM_BYTES_MAX = 56 * 1024

/** Refuses what is no form, is too long, or names a field twice. */
export async function readForm(request: IncomingMessage): Promise<ReadonlyMap<string, string>> {
  const [type] = (request.headers['content-type'] ?? '').split(';')
  if (type?.trim().toLowerCase() !== 'application/x-www-form-urlencoded') {
    throw new errors.InvalidRequest('the body is not a form')
  }
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > FORM_BYTES_MAX) throw new errors.InvalidRequest('the form is too long', 413)
    chunks.push(chunk)
  }
  const fields = new Map<string, string>()
  for (const [name, value] of new URLSearchParams(Buffer.concat(chunks).toString('utf8'))) {
    if (fields.has(name)) throw new errors.InvalidRequest(`${name} is given twice`)
    fields.set(name, value)
  }
  return fields
}
