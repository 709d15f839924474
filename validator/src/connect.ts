/**
 * A validator as a running service needs it: it follows the authority, decides, acknowledges and reports. The
 * first two can be had alone: `followManifest` and `createValidator`.
 * @module
 */

import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseTrustAnchor } from './charter.ts'
import {
  bearerAllowed,
  type ConnectedValidator,
  type ConnectOptions,
  connected,
  type ForeignConnectOptions,
} from './connected.ts'
import { readEnrolment } from './enrolment.ts'
import { followManifest } from './follow.ts'
import { refuseUnknown } from './options.ts'
import { createReporter } from './reporter.ts'
import { acceptWithoutReceipt } from './validator.ts'

export {
  bearerAllowed,
  type ConnectedValidator,
  type ConnectOptions,
  type ForeignConnectOptions,
} from './connected.ts'

/**
 * Starts to follow at once. Until there is a manifest, every token is refused as `manifest_stale`, and only `onProblem` hears what
 * keeps it away. Throws `TypeError` where an option is missing or not known.
 */
export function connectValidator(options: ConnectOptions | ForeignConnectOptions): ConnectedValidator {
  checkOptions(options)
  const { authority, stateFolder, sentinel } = options
  const enrolment = readEnrolment(options.enrolment.name, options.enrolment.keyFile)
  const trustAnchor = parseTrustAnchor(JSON.parse(readFileSync(options.trustAnchorFile, 'utf8')))
  mkdirSync(stateFolder, { recursive: true, mode: 0o700 })
  const { onProblem } = options
  const folder = join(stateFolder, 'sightings')
  const reporter =
    sentinel === undefined ? undefined : createReporter({ sentinel, enrolment, folder, onProblem })
  const follower = followManifest({
    authority,
    trustAnchor,
    stateFile: join(stateFolder, 'manifest.json'),
    enrolment,
    pushedRoots: options.pushedRoots,
    onProblem,
    onMisbehavior: onProblem,
  })
  try {
    return connected(options, { trust: follower, reporter })
  } catch (error) {
    // A setting is of no use, and nobody gets what would have to be stopped.
    void follower.stop()
    void reporter?.stop()
    throw error
  }
}

const optionNames: ReadonlySet<string | symbol> = new Set<keyof ConnectOptions | keyof ForeignConnectOptions>(
  [
    'realm',
    'issuers',
    'audience',
    'authority',
    'trustAnchorFile',
    'stateFolder',
    'tokenType',
    'boundRealms',
    bearerAllowed,
    acceptWithoutReceipt,
    'enrolment',
    'pushedRoots',
    'denials',
    'sentinel',
    'onProblem',
  ],
)

function checkOptions(options: ConnectOptions | ForeignConnectOptions): void {
  // Realms that have to be bound, under a name with a typing error, are bound by nobody.
  refuseUnknown('connectValidator', options, optionNames)
  for (const name of ['authority', 'trustAnchorFile', 'stateFolder'] as const) {
    if (typeof options[name] !== 'string') throw new TypeError(`${name} is missing`)
  }
  const { name, keyFile } = options.enrolment ?? {}
  if (typeof name !== 'string' || typeof keyFile !== 'string')
    throw new TypeError('enrolment is missing: countersign validator enrol makes a name and a key')
}
