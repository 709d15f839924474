/**
 * What one operator proposes and another has to approve: to lift a block, to let a key sign before its time, to break
 * the glass, to drop keys that have ended, to stop waiting for a validator. A charter is proposed in `charter.ts`.
 * @module
 */

import { parseArgs } from 'node:util'
import { type ApprovalTarget, approve as sign } from '@countersign/validator/approval'
import { draftApproval } from './draft.ts'
import { enrolValidator } from './enrol.ts'
import { describe, type InForce, indent, printAll, propose, readInForce, readPerson } from './proposal.ts'
import { readSystem } from './system.ts'

const common = {
  ready: { type: 'string' },
  operator: { type: 'string' },
  reason: { type: 'string' },
} as const

const MINUTES_MAX = 60

/** `countersign key lift|activate|prune`. */
export async function widenKey(op: 'lift' | 'activate' | 'prune', args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: { ...common, iss: { type: 'string' }, kid: { type: 'string', multiple: true } },
  })
  const [kid, ...others] = values.kid ?? []
  const { iss } = values
  if (kid === undefined) throw new Error(`${op} needs --kid KID`)
  if (op !== 'prune' && others.length > 0) throw new Error(`${op} takes one --kid KID`)
  if (op !== 'lift' && iss !== undefined) throw new Error(`${op} takes no --iss`)
  await widen(values, ({ manifest }) => {
    const unknown = [kid, ...others].find((each) => iss === undefined && !manifest.keys.has(each))
    if (unknown !== undefined) throw new Error(`no manifest names the key ${unknown}`)
    if (op === 'prune') return { op, kids: [kid, ...others] }
    if (op === 'activate') return { op, kid }
    if (iss !== undefined) {
      const block = manifest.foreign.blocked.find((each) => each.issuer === iss && each.kid === kid)
      if (block === undefined) throw new Error(`${kid} of ${iss} is not blocked`)
      return { op: 'lift-foreign', issuer: iss, kid, blockedAt: block.at }
    }
    const { blocked } = manifest.keys.get(kid) ?? {}
    if (blocked === undefined) throw new Error(`${kid} is not blocked`)
    return { op, kid, blockedAt: blocked.at }
  })
}

/** `countersign validator enrol|remove`. */
export async function validator(args: readonly string[]): Promise<void> {
  const [operation, ...rest] = args
  if (operation === 'enrol') return enrolValidator(rest)
  if (operation !== 'remove')
    throw new Error(`validator takes enrol or remove, not ${operation ?? 'nothing'}`)
  const { values } = parseArgs({ args: [...rest], options: { ...common, name: { type: 'string' } } })
  const { name } = values
  if (name === undefined) throw new Error('remove needs --name NAME')
  await widen(values, () => ({ op: 'remove-validator', name }))
}

/** `countersign break-glass`. */
export async function breakGlass(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: { ...common, realm: { type: 'string' }, minutes: { type: 'string' } },
  })
  const { realm } = values
  const minutes = Number(values.minutes)
  if (realm === undefined) throw new Error('break-glass needs --realm REALM')
  if (!Number.isInteger(minutes) || minutes < 1 || minutes > MINUTES_MAX) {
    throw new Error(`break-glass needs --minutes N, 1 to ${MINUTES_MAX}`)
  }
  await widen(values, (_, now) => ({ op: 'break-glass', realm, until: now + minutes * 60 }))
}

async function widen(
  { ready, operator, reason }: { readonly [Name in keyof typeof common]?: string | undefined },
  targetOf: (inForce: InForce, now: number) => ApprovalTarget,
): Promise<void> {
  if (reason === undefined) throw new Error('--reason TEXT: the record says why')
  const { authority } = readSystem(ready)
  const inForce = await readInForce(ready)
  const author = readPerson(authority, inForce, operator)
  const now = Math.floor(Date.now() / 1000)
  const document = sign(
    draftApproval(targetOf(inForce, now), {
      reason,
      proposer: author.id,
      charterVersion: inForce.charter.version,
    }),
    author.privateKey,
  )
  printAll(describe(document.payload, inForce).map(indent))
  await propose(authority, document, inForce)
}
