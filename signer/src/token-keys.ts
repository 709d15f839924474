/**
 * Keys inside a token: made there, never to leave, and used by their handles. What each algorithm of ours is in PKCS#11,
 * and how a public key reads as a JWK. See PKCS#11 2.40, sections 2.1 and 2.3, and RFC 7518.
 * @module
 */

import { hash } from 'node:crypto'
import { type Algorithm, type ImportedKey, importPublicJwk } from '@countersign/validator/jws'
import {
  type Attribute,
  CKA,
  CKK,
  CKM,
  CKO,
  CKR,
  type Handle,
  type Mechanism,
  pss,
  returnValueOf,
} from './cryptoki.ts'
import { TokenFault } from './fault.ts'
import type { Token } from './token.ts'

/** How a key is found again: both stand on its objects. */
export interface KeyMark {
  /** Random, chosen before the key is made. */
  readonly id: Buffer
  readonly label: string
}

interface Way {
  readonly mechanism: Mechanism
  readonly prepare: (input: string) => Buffer
}

interface Recipe {
  readonly generation: number
  readonly keyType: number
  /** Tried in turn: tokens differ in which of them they read. */
  readonly parameters: readonly (readonly Attribute[])[]
  /** In order of preference. */
  readonly ways: readonly Way[]
}

const whole = (input: string): Buffer => Buffer.from(input)
const digest = (input: string): Buffer => hash('sha256', input, 'buffer')

const P256 = Buffer.from('06082a8648ce3d030107', 'hex')
const ED25519_OID = Buffer.from('06032b6570', 'hex')
/** The curve's name as a PrintableString, the only form before PKCS#11 3.0 had settled on the object identifier. */
const ED25519_NAME = Buffer.from('130c656477617264733235353139', 'hex')
const F4 = Buffer.from([1, 0, 1])

const rsa = (bits: number, ways: readonly Way[]): Recipe => ({
  generation: CKM.rsaPkcsKeyPairGen,
  keyType: CKK.rsa,
  parameters: [
    [
      { type: CKA.modulusBits, value: bits },
      { type: CKA.publicExponent, value: F4 },
    ],
  ],
  ways,
})

/** Undefined: no token knows it yet. */
const recipes: Readonly<Record<Algorithm, Recipe | undefined>> = {
  ES256: {
    generation: CKM.ecKeyPairGen,
    keyType: CKK.ec,
    parameters: [[{ type: CKA.ecParams, value: P256 }]],
    ways: [
      { mechanism: { mechanism: CKM.ecdsa }, prepare: digest },
      { mechanism: { mechanism: CKM.ecdsaSha256 }, prepare: whole },
    ],
  },
  EdDSA: {
    generation: CKM.ecEdwardsKeyPairGen,
    keyType: CKK.ecEdwards,
    parameters: [[{ type: CKA.ecParams, value: ED25519_OID }], [{ type: CKA.ecParams, value: ED25519_NAME }]],
    ways: [{ mechanism: { mechanism: CKM.eddsa }, prepare: whole }],
  },
  // 2048 is what the receivers of signals have to take; it signs nothing else.
  RS256: rsa(2048, [{ mechanism: { mechanism: CKM.sha256RsaPkcs }, prepare: whole }]),
  PS256: rsa(3072, [
    { mechanism: { mechanism: CKM.sha256RsaPkcsPss, parameter: pss }, prepare: whole },
    { mechanism: { mechanism: CKM.rsaPkcsPss, parameter: pss }, prepare: digest },
  ]),
  'ML-DSA-44': undefined,
}

/** Whether this token makes such keys and signs with them. */
export function offers({ mechanisms }: Token, algorithm: Algorithm): boolean {
  const recipe = recipes[algorithm]
  return (
    recipe !== undefined &&
    mechanisms.has(recipe.generation) &&
    recipe.ways.some(({ mechanism }) => mechanisms.has(mechanism.mechanism))
  )
}

/** Makes a key that never leaves the token. Throws `TokenFault` or what the module said. */
export function generateOn(token: Token, algorithm: Algorithm, mark: KeyMark): ImportedKey {
  const recipe = recipeOf(token, algorithm)
  const { publicKey, privateKey } = generatePair(token, recipe, mark)
  if (!isProtected(token, privateKey)) {
    for (const handle of [publicKey, privateKey]) token.cryptoki.C_DestroyObject(token.session, handle)
    throw new TokenFault(
      'key_unprotected',
      'the token made a key that can be read or leave it, and it was destroyed: this token is not fit for keys',
    )
  }
  return importPublicJwk(readPublicJwk(token, publicKey, algorithm))
}

/** Signs as JWS wants it. Throws, or rejects with, what the module said. */
export function signOn(
  token: Token,
  key: Handle,
  algorithm: Algorithm,
  input: string,
): Uint8Array | Promise<Uint8Array> {
  const { mechanism, prepare } = wayOf(token, algorithm)
  return token.sign(key, mechanism, prepare(input))
}

/** The private key of this mark, ready for use. Throws `TokenFault` unless it is there, once, and cannot leave. */
export function findPrivateKey(token: Token, { id, label }: KeyMark): Handle {
  const [found, ...others] = find(token, [
    { type: CKA.class, value: CKO.privateKey },
    { type: CKA.id, value: id },
    { type: CKA.label, value: label },
  ])
  if (found === undefined || others.length > 0)
    throw new TokenFault(
      'key_missing',
      `the token does not hold the key ${id.toString('hex')} that this folder knows: it was destroyed, or this is another token`,
    )
  if (!isProtected(token, found))
    throw new TokenFault('key_unprotected', `the key ${id.toString('hex')} can be read or leave the token`)
  return found
}

/** Destroys both halves, if they are there. */
export function destroyOn(token: Token, { id, label }: KeyMark): void {
  const marks = [
    { type: CKA.id, value: id },
    { type: CKA.label, value: label },
  ]
  for (const object of find(token, marks)) token.cryptoki.C_DestroyObject(token.session, object)
}

/** The ids of all private keys with this label. */
export function idsOn(token: Token, label: string): readonly Buffer[] {
  const keys = find(token, [
    { type: CKA.class, value: CKO.privateKey },
    { type: CKA.label, value: label },
  ])
  return keys.map((key) => read(token, key, CKA.id))
}

function recipeOf(token: Token, algorithm: Algorithm): Recipe {
  const recipe = recipes[algorithm]
  if (recipe !== undefined && offers(token, algorithm)) return recipe
  throw missing(token, algorithm)
}

function wayOf(token: Token, algorithm: Algorithm): Way {
  const way = recipes[algorithm]?.ways.find(({ mechanism }) => token.mechanisms.has(mechanism.mechanism))
  if (way === undefined) throw missing(token, algorithm)
  return way
}

function missing({ label }: Token, algorithm: Algorithm): TokenFault {
  return new TokenFault(
    'mechanism_missing',
    `the token ${label} does not offer ${algorithm}: let the charter name another algorithm, or take another token`,
  )
}

function generatePair(
  { cryptoki, session }: Token,
  { generation, keyType, parameters }: Recipe,
  { id, label }: KeyMark,
): { readonly publicKey: Handle; readonly privateKey: Handle } {
  const marks = [
    { type: CKA.token, value: true },
    { type: CKA.id, value: id },
    { type: CKA.label, value: label },
    { type: CKA.keyType, value: keyType },
  ]
  const privateTemplate = [
    ...marks,
    { type: CKA.class, value: CKO.privateKey },
    { type: CKA.private, value: true },
    { type: CKA.sensitive, value: true },
    { type: CKA.extractable, value: false },
    { type: CKA.sign, value: true },
    { type: CKA.decrypt, value: false },
    { type: CKA.unwrap, value: false },
    { type: CKA.derive, value: false },
  ]
  const [last, ...others] = parameters.toReversed()
  const attempt = (chosen: readonly Attribute[] | undefined) =>
    cryptoki.C_GenerateKeyPair(
      session,
      { mechanism: generation },
      [
        ...marks,
        { type: CKA.class, value: CKO.publicKey },
        { type: CKA.verify, value: true },
        ...(chosen ?? []),
      ],
      privateTemplate,
    )
  for (const chosen of others.toReversed()) {
    try {
      return attempt(chosen)
    } catch (error) {
      if (!unreadParameters.includes(returnValueOf(error))) throw error
    }
  }
  return attempt(last)
}

const unreadParameters: readonly (number | undefined)[] = [
  CKR.attributeValueInvalid,
  CKR.domainParamsInvalid,
  CKR.curveNotSupported,
]

/** K1: what the token says of the key, not what it was asked for. */
function isProtected(token: Token, key: Handle): boolean {
  const isSet = (type: number): boolean => read(token, key, type)[0] === 1
  return isSet(CKA.sensitive) && !isSet(CKA.extractable) && isSet(CKA.private) && isSet(CKA.sign)
}

function readPublicJwk(token: Token, key: Handle, algorithm: Algorithm): object {
  switch (algorithm) {
    case 'ES256': {
      const point = readPoint(read(token, key, CKA.ecPoint), 65)
      const [x, y] = [point.subarray(1, 33), point.subarray(33)]
      return {
        kty: 'EC',
        crv: 'P-256',
        x: x.toString('base64url'),
        y: y.toString('base64url'),
        alg: algorithm,
      }
    }
    case 'EdDSA': {
      const x = readPoint(read(token, key, CKA.ecPoint), 32)
      return { kty: 'OKP', crv: 'Ed25519', x: x.toString('base64url'), alg: algorithm }
    }
    default: {
      const n = withoutZeros(read(token, key, CKA.modulus))
      return { kty: 'RSA', n: n.toString('base64url'), e: 'AQAB', alg: algorithm }
    }
  }
}

/** A DER OCTET STRING around the point, as PKCS#11 has it; some modules give the point alone. */
function readPoint(bytes: Buffer, length: number): Buffer {
  if (bytes.length === length) return bytes
  if (bytes.length === length + 2 && bytes[0] === 4 && bytes[1] === length) return bytes.subarray(2)
  throw new TokenFault('module_failed', 'the module gives a public key that cannot be read')
}

function withoutZeros(bytes: Buffer): Buffer {
  return bytes.subarray(bytes.findIndex((byte) => byte !== 0))
}

function read({ cryptoki, session }: Token, object: Handle, type: number): Buffer {
  const [attribute] = cryptoki.C_GetAttributeValue(session, object, [{ type }])
  return attribute?.value ?? Buffer.alloc(0)
}

/** More than any signer has. */
const FOUND_MAX = 1024

function find({ cryptoki, session }: Token, template: Attribute[]): readonly Handle[] {
  cryptoki.C_FindObjectsInit(session, template)
  try {
    return cryptoki.C_FindObjects(session, FOUND_MAX)
  } finally {
    cryptoki.C_FindObjectsFinal(session)
  }
}
