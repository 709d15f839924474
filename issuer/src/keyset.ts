/**
 * Which algorithms the ID tokens of a realm can be signed with: what discovery says, and what clients may ask for.
 * @module
 */

import type { KeyObject } from 'node:crypto'
import type { Algorithm } from '@countersign/validator/jws'
import { liveKeys } from '@countersign/validator/key-set'
import type { Manifest } from '@countersign/validator/manifest'

/** A public key for each algorithm that the realm signs ID tokens with. */
export function keyPerAlgorithm(
  manifest: Manifest | undefined,
  realm: string,
): ReadonlyMap<Algorithm, KeyObject> {
  const keys = liveKeys(manifest, realm).filter(({ tokenTypes }) => tokenTypes.includes('id'))
  return new Map(keys.map(({ algorithm, publicKey }) => [algorithm, publicKey]))
}
