/**
 * The broken glass: for as long as two people have allowed it, at most an hour, keys of a realm sign without waiting for
 * caches and acknowledgements. It ends by itself. The sentinel's alarm about it cannot be silenced.
 * @module
 */

import { type ApprovalDocument, readApproval } from '@countersign/validator/approval'
import type { Charter } from '@countersign/validator/charter'
import type { Manifest } from '@countersign/validator/manifest'

type Glass = Pick<Manifest, 'breakGlass'>

/** What allows keys of the realm to sign early; undefined while nothing does. */
export function brokenGlass({ breakGlass }: Glass, realm: string, now: number): ApprovalDocument | undefined {
  return breakGlass.find((document) => {
    const { target } = readApproval(document)
    return target.op === 'break-glass' && target.realm === realm && now < target.until
  })
}

/**
 * `trust` without what has ended; the same object when nothing has. A charter ends what was approved under the one before:
 * no validator that has it would let a key sign early by that.
 */
export function mendGlass<T extends Glass>(trust: T, charter: Pick<Charter, 'version'>, now: number): T {
  const breakGlass = trust.breakGlass.filter((document) => {
    const { target, charterVersion } = readApproval(document)
    return target.op === 'break-glass' && charterVersion === charter.version && now < target.until
  })
  return breakGlass.length === trust.breakGlass.length ? trust : { ...trust, breakGlass }
}
