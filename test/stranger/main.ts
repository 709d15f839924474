/**
 * A service as somebody writes one who has nothing of ours but the published package: it follows an authority, and answers
 * whose mailbox it opened.
 *
 *     node main.js AUTHORITY FOLDER     the folder holds trust-anchor.json and enrolment.json
 * @module
 */

import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { connectValidator } from '@countersign/validator/connect'
import { createGuard } from '@countersign/validator/guard'
import { protect } from '@countersign/validator/node'
import { openMailbox } from './mailbox.ts'

const [authority = '', folder = ''] = process.argv.slice(2)
const validator = connectValidator({
  realm: 'consumer',
  audience: 'https://mail.countersign.example',
  authority,
  trustAnchorFile: join(folder, 'trust-anchor.json'),
  stateFolder: join(folder, `state-${process.version}`),
  enrolment: { name: 'stranger', keyFile: join(folder, 'enrolment.json') },
})
const guard = createGuard(validator, { scopes: 'mail.read' })
const server = createServer(
  protect(guard, (request, response) => {
    response.end(JSON.stringify(openMailbox(request.token)))
  }),
)
await validator.whenReady(10_000)
server.listen(0, '127.0.0.1', () => {
  console.log(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
})
process.once('SIGTERM', async () => {
  server.close()
  server.closeAllConnections()
  await validator.stop()
})
