/**
 * What a test world's witness tells of the roots that it countersigned, and tokens with receipts other than it gave. For
 * tests alone.
 * @module
 */

import type { KeyObject } from 'node:crypto'
import { decode, encode } from './base64url.ts'
import { encodePayload } from './document.ts'
import { signInput } from './jws.ts'
import { decodeReceipt, encodeReceipt, type Receipt } from './receipt.ts'
import { type CountersignedSubtree, signRoots } from './roots.ts'
import type { TestWorld } from './testing.ts'
import { rootFromInclusion } from './tree.ts'

/** A statement of the subtrees of these tokens, by the witness or by whoever has that key. */
export function tellRoots(
  { witness, now }: TestWorld,
  tokens: readonly string[],
  privateKey: KeyObject = witness.receiptKey.privateKey,
): string {
  const subtrees = tokens.map((token) => subtreeOf({ witness }, token))
  const distinct = new Map(subtrees.map((subtree) => [subtree.start + subtree.size, subtree]))
  return signRoots(witness.origin, [...distinct.values()], now, privateKey)
}

/** The subtree that a token's receipt is over. */
export function subtreeOf({ witness }: Pick<TestWorld, 'witness'>, token: string): CountersignedSubtree {
  const { start, size, offset, path } = receiptOf(token)
  const leaf = witness.leafHashes[start + offset] as Uint8Array
  return { start, size, root: rootFromInclusion(leaf, offset, size, path) as Uint8Array }
}

export function receiptOf(token: string): Receipt {
  return decodeReceipt(decode(headerOf(token)['rcpt'] as string))
}

/** The same token with another receipt, as only who has the key of the realm `consumer` can sign it. */
export function withReceipt(
  { keys }: Pick<TestWorld, 'keys'>,
  token: string,
  change: (receipt: Receipt) => Partial<Receipt>,
): string {
  const receipt = receiptOf(token)
  const rcpt = encode(encodeReceipt({ ...receipt, ...change(receipt) }))
  const input = `${encodePayload({ ...headerOf(token), rcpt })}.${token.split('.')[1]}`
  return `${input}.${encode(signInput('ES256', keys.consumer.privateKey, input))}`
}

/** Makes a receipt worth nothing but where its root is known. */
export function wrongSignature({ signature }: Receipt): Partial<Receipt> {
  return { signature: flipped(signature) }
}

export function flipped(bytes: Uint8Array): Uint8Array {
  const copy = Uint8Array.from(bytes)
  copy[0] = (copy[0] as number) ^ 1
  return copy
}

function headerOf(token: string): Record<string, unknown> {
  return JSON.parse(Buffer.from(decode(token.split('.')[0] as string)).toString())
}
