/**
 * `countersign charter`: what the realms may ever sign, and how operators change it.
 * @module
 */

import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { fetchProposals } from '@countersign/authority/client'
import { approversOf, CHARTER_TYPE, parseCharter } from '@countersign/validator/charter'
import {
  encodePayload,
  readDocument,
  readPayload,
  type SignedDocument,
} from '@countersign/validator/document'
import { type JsonObject, parseObject } from '@countersign/validator/json'
import { draftFrom } from './amend.ts'
import { approve } from './approve.ts'
import {
  confirm,
  describe,
  type InForce,
  indent,
  printAll,
  propose,
  readInForce,
  readPerson,
  sign,
} from './proposal.ts'
import type { System } from './ready.ts'
import { readSystem } from './system.ts'
import { formatTable } from './table.ts'

export async function charter(args: readonly string[]): Promise<void> {
  const [operation, ...rest] = args
  switch (operation) {
    case 'show':
      return show(rest)
    case 'propose':
      return proposeCharter(rest)
    case 'approve':
      return approve(rest)
    case 'proposals':
      return listProposals(rest)
    default:
      throw new Error(`charter takes show, propose, approve or proposals, not ${operation ?? 'nothing'}`)
  }
}

/** The charter as it was approved; with --payload what a next one is made from, and nothing else. */
async function show(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      ready: { type: 'string' },
      version: { type: 'string' },
      payload: { type: 'boolean', default: false },
    },
  })
  const { documents } = await readInForce(values.ready)
  const version = values.version === undefined ? documents.length : Number(values.version)
  const document = documents[version - 1]
  if (document === undefined)
    throw new Error(`there is no charter ${values.version}; the newest is ${documents.length}`)
  if (!values.payload) printAll([`charter ${version}, approved by ${approvedBy(documents, version)}`])
  printAll([JSON.stringify(readPayload(document.payload), undefined, 2)])
}

/** Its operators approve the next charter; who approved the first stands in the trust anchor, which names the same. */
function approvedBy(documents: readonly SignedDocument[], version: number): string {
  const before = documents[Math.max(0, version - 2)] as SignedDocument
  const { operators } = parseCharter(readPayload(before.payload))
  try {
    return approversOf(documents[version - 1], CHARTER_TYPE, { operators }).join(', ')
  } catch {
    return 'the operators of the trust anchor'
  }
}

/**
 * From a file as `show --payload` gave it, edited, or from a configuration of `countersign up`: number and time of the next charter are
 * set here.
 */
async function proposeCharter(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      ready: { type: 'string' },
      file: { type: 'string' },
      config: { type: 'string' },
      operator: { type: 'string' },
      yes: { type: 'boolean', default: false },
    },
  })
  const { ready, file, config, operator, yes } = values
  if ((file === undefined) === (config === undefined))
    throw new Error('propose needs --file FILE, what charter show --payload gave, edited; or --config FILE')
  const given = file === undefined ? undefined : readFile(file)
  const system = readSystem(ready)
  const { authority } = system
  const inForce = await readInForce(ready)
  const signing = { authority, operator, isSure: yes }
  if (given !== undefined) {
    const isSigned = Object.hasOwn(given, 'signatures')
    const document = isSigned ? readDocument(given) : await signNext(given, inForce, signing)
    return propose(authority, document, inForce)
  }
  const { charter, isChanged, notes, prepare } = await draftFrom(config as string, system, inForce, ready)
  if (!isChanged)
    return printAll([
      'the charter in force says all of this: start countersign up with it, nobody has to approve',
    ])
  const document = await signNext(charter, inForce, { ...signing, notes })
  await prepare()
  await propose(authority, document, inForce)
}

async function signNext(
  given: JsonObject,
  inForce: InForce,
  {
    authority,
    operator,
    isSure,
    notes = [],
  }: {
    readonly authority: System['authority']
    readonly operator: string | undefined
    readonly isSure: boolean
    readonly notes?: readonly string[]
  },
): Promise<SignedDocument> {
  const author = readPerson(authority, inForce, operator)
  const now = Math.floor(Date.now() / 1000)
  const next = {
    ...given,
    version: inForce.charter.version + 1,
    iat: Math.max(now, inForce.charter.issuedAt),
  }
  const segment = encodePayload(next)
  const payload = readPayload(segment)
  printAll(describe(segment, inForce).map(indent))
  if (notes.length > 0) printAll(['besides:', ...notes.map(indent)])
  if (!isSure && !(await confirm(`propose this as ${author.id}?`))) throw new Error('not proposed')
  return sign(payload, segment, author.privateKey)
}

async function listProposals(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({ args: [...args], options: { ready: { type: 'string' } } })
  const proposals = await fetchProposals(readSystem(values.ready).authority.url)
  const rows = proposals.map(({ id, kind, payload, approved_by, needed, expires_at }) => [
    id,
    kind === 'charter' ? `charter ${payload['version']}` : String(payload['op']),
    `${approved_by.length} of ${needed}: ${approved_by.join(', ')}`,
    `${new Date(expires_at * 1000).toISOString().slice(11, 19)}Z`,
  ])
  printAll([formatTable(['id', 'what', 'approved by', 'until'], rows)])
}

/** Strictly: of two members with one name a validator would refuse both, and whoever edits sees the last. */
function readFile(file: string): JsonObject {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    throw new Error(`${file} cannot be read (${(error as NodeJS.ErrnoException).code})`)
  }
  try {
    return parseObject(text)
  } catch {
    throw new Error(`${file} is not a JSON object, or a member stands in it twice`)
  }
}
