/**
 * A validator as a running service needs it: it follows the authority, decides, acknowledges and reports. Each of the
 * parts can be had alone: `followManifest`, `createValidator`, `createReporter`.
 * @module
 */

import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseTrustAnchor } from './charter.ts'
import {
  type ConnectedValidator,
  type ConnectOptions,
  connected,
  type ForeignConnectOptions,
} from './connected.ts'
import { readEnrolment } from './enrolment.ts'
import { followManifest } from './follow.ts'
import { createReporter } from './reporter.ts'

export {
  bearerAllowed,
  type ConnectedValidator,
  type ConnectOptions,
  type ForeignConnectOptions,
} from './connected.ts'

/** Starts to follow at once. Until there is a manifest, every token is refused as `manifest_stale`. */
export function connectValidator(options: ConnectOptions | ForeignConnectOptions): ConnectedValidator {
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
