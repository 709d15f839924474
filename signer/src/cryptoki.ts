/**
 * The part of PKCS#11 (version 2.40, Ed25519 from 3.0) that a keystore needs, as `pkcs11js` offers it, and the numbers of
 * its header files. The addon itself is loaded only where a token is used: every other signer runs without addons.
 * @module
 */

import { TokenFault } from './fault.ts'

export type Handle = Buffer
export interface Attribute {
  readonly type: number
  readonly value?: number | boolean | string | Buffer
}
export interface Mechanism {
  readonly mechanism: number
  readonly parameter?: object
}
interface TokenInfo {
  readonly label: string
  readonly manufacturerID: string
  readonly model: string
  readonly serialNumber: string
  readonly flags: number
  readonly maxSessionCount: number
}

/** What a module can be asked. Tests lay faults over a real one. */
export interface Cryptoki {
  C_Initialize(options?: { readonly flags: number }): void
  C_Finalize(): void
  C_GetSlotList(tokenPresent: boolean): Handle[]
  C_GetTokenInfo(slot: Handle): TokenInfo
  C_GetMechanismList(slot: Handle): number[]
  C_OpenSession(slot: Handle, flags: number): Handle
  C_CloseSession(session: Handle): void
  C_Login(session: Handle, userType: number, pin: string): void
  C_FindObjectsInit(session: Handle, template: Attribute[]): void
  C_FindObjects(session: Handle, countMax: number): Handle[]
  C_FindObjectsFinal(session: Handle): void
  C_GetAttributeValue(
    session: Handle,
    object: Handle,
    template: Attribute[],
  ): readonly { readonly value: Buffer }[]
  C_GenerateKeyPair(
    session: Handle,
    mechanism: Mechanism,
    publicTemplate: Attribute[],
    privateTemplate: Attribute[],
  ): { readonly publicKey: Handle; readonly privateKey: Handle }
  C_SignInit(session: Handle, mechanism: Mechanism, key: Handle): void
  C_Sign(session: Handle, data: Buffer, signature: Buffer): Buffer
  C_SignAsync(session: Handle, data: Buffer, signature: Buffer): Promise<Buffer>
  C_DestroyObject(session: Handle, object: Handle): void
}

/** Loads a token's module. Throws `TokenFault`, `module_missing`. */
export async function loadModule(path: string): Promise<Cryptoki> {
  const { PKCS11 } = (await import('pkcs11js')).default
  const module = new PKCS11()
  try {
    module.load(path)
  } catch {
    throw new TokenFault(
      'module_missing',
      `${path} is not there or no PKCS#11 module for this machine: install it, or correct module-path`,
    )
  }
  return module as unknown as Cryptoki
}

/** The code that a module gave, or undefined where something else was thrown. */
export function returnValueOf(error: unknown): number | undefined {
  const { name, code } = error as { readonly name?: unknown; readonly code?: unknown }
  return name === 'Pkcs11Error' && typeof code === 'number' ? code : undefined
}

export const CKF = {
  rwSession: 0x2,
  serialSession: 0x4,
  osLockingOk: 0x2,
  loginRequired: 0x4,
  userPinInitialized: 0x8,
  tokenInitialized: 0x400,
  userPinFinalTry: 0x20000,
  userPinLocked: 0x40000,
} as const

export const CKU_USER = 1

export const CKO = { publicKey: 2, privateKey: 3 } as const

export const CKK = { rsa: 0, ec: 3, ecEdwards: 0x40 } as const

export const CKA = {
  class: 0x0,
  token: 0x1,
  private: 0x2,
  label: 0x3,
  keyType: 0x100,
  id: 0x102,
  sensitive: 0x103,
  decrypt: 0x105,
  unwrap: 0x107,
  sign: 0x108,
  verify: 0x10a,
  derive: 0x10c,
  modulus: 0x120,
  modulusBits: 0x121,
  publicExponent: 0x122,
  extractable: 0x162,
  ecParams: 0x180,
  ecPoint: 0x181,
} as const

export const CKM = {
  rsaPkcsKeyPairGen: 0x0,
  rsaPkcsPss: 0xd,
  sha256RsaPkcs: 0x40,
  sha256RsaPkcsPss: 0x43,
  sha256: 0x250,
  ecKeyPairGen: 0x1040,
  ecdsa: 0x1041,
  ecdsaSha256: 0x1044,
  ecEdwardsKeyPairGen: 0x1055,
  eddsa: 0x1057,
} as const

/** MGF1 with SHA-256, and the number by which pkcs11js knows the parameters of PSS. */
export const pss = { type: 5, mgf: 0x2, hashAlg: CKM.sha256, saltLen: 32 } as const

export const CKR = {
  generalError: 0x5,
  functionFailed: 0x6,
  cantLock: 0xa,
  attributeSensitive: 0x11,
  attributeValueInvalid: 0x13,
  deviceError: 0x30,
  deviceMemory: 0x31,
  deviceRemoved: 0x32,
  keyHandleInvalid: 0x60,
  mechanismInvalid: 0x70,
  mechanismParamInvalid: 0x71,
  objectHandleInvalid: 0x82,
  operationActive: 0x90,
  pinIncorrect: 0xa0,
  pinInvalid: 0xa1,
  pinLenRange: 0xa2,
  pinExpired: 0xa3,
  pinLocked: 0xa4,
  sessionClosed: 0xb0,
  sessionCount: 0xb1,
  sessionHandleInvalid: 0xb3,
  slotIdInvalid: 0x3,
  tokenNotPresent: 0xe0,
  tokenNotRecognized: 0xe1,
  userAlreadyLoggedIn: 0x100,
  userNotLoggedIn: 0x101,
  userPinNotInitialized: 0x102,
  domainParamsInvalid: 0x130,
  curveNotSupported: 0x140,
  bufferTooSmall: 0x150,
  cryptokiNotInitialized: 0x190,
  cryptokiAlreadyInitialized: 0x191,
} as const
