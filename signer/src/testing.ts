/**
 * A signer in a temporary folder with a world of trust around it, for tests: its charter names the signer, its
 * manifest the key that the signer made, its witness countersigns what the signer prepared. Nothing here is for
 * production.
 * @module
 */

import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { decode, encode } from '@countersign/validator/base64url'
import { decodeEntry } from '@countersign/validator/entry'
import { type Algorithm, importPublicJwk } from '@countersign/validator/jws'
import type { ManifestDraft } from '@countersign/validator/manifest'
import {
  createTestWorld,
  issuers,
  mailAudience,
  type TestWorld,
  tenants,
} from '@countersign/validator/testing'
import type { KeystorePlace } from './keystores.ts'
import {
  type GeneratedKey,
  initSigner,
  openSigner,
  type PreparedAnswer,
  type Problem,
  type SignedAnswer,
  type Signer,
  type SignerOptions,
} from './signer.ts'

type DraftKey = ManifestDraft['keys'][number]

export interface TestSigner {
  readonly world: TestWorld
  readonly options: SignerOptions
  /** The signer that is open now. */
  readonly signer: Signer
  /** The key that it signs with. */
  readonly kid: string
  /** Milliseconds on the clock that never jumps. Tests move it. */
  milliseconds: number
  /** Claims of an access token, with `change` laid over; undefined removes one. */
  claims(change?: object): string
  prepare(request?: object): Promise<PreparedAnswer>
  /** Why it does not prepare a request. */
  refusal(request: object): Promise<string>
  /** What is said about it; undefined where it is prepared. */
  complaint(request: object): Promise<string | undefined>
  /** The witness's receipt for what was prepared. */
  receipt(prepared: PreparedAnswer): string
  sign(prepared: PreparedAnswer, receipt: string): Promise<SignedAnswer | Problem>
  /** Both phases with what lies between them. */
  issue(request?: object): Promise<string>
  /** Makes a key and names it in the next manifest; the signer has heard of it. */
  addKey(algorithm: Algorithm, change?: Partial<DraftKey>): Promise<string>
  /** Brings the signer what the world has published last. */
  bringTrust(): Promise<void>
  /** Goes on with a new signer on what was on the disk at this moment. It has not been brought any trust. */
  crash(): Promise<void>
  remove(): Promise<void>
}

export const scopeRequest = {
  alg: 'ES256',
  iss: issuers.consumer,
  tenants: [tenants.home],
  token_types: ['access', 'id', 'logout', 'set'],
  max_ttl: 3600,
}

const testSecret = { value: 'correct horse battery staple', stamp: undefined }

/** A signer on a file, or on the token that `options` name. */
export async function openTestSigner({
  signaturesPerSecondMax = 1_000_000,
  ...token
}: Partial<
  Pick<SignerOptions, 'signaturesPerSecondMax' | 'keystore' | 'secret' | 'load'>
> = {}): Promise<TestSigner> {
  const folders: string[] = []
  const newFolder = (): string => {
    const folder = mkdtempSync(join(tmpdir(), 'countersign-signer-'))
    folders.push(folder)
    return folder
  }
  const placeIn = (folder: string): KeystorePlace => ({
    realm: 'consumer',
    folder,
    keystore: join(folder, 'keystore.age'),
    secret: testSecret,
    monotonic: () => test.milliseconds,
    ...token,
  })
  const test = { milliseconds: 0 } as TestSigner
  const place = placeIn(newFolder())
  const identity = await initSigner(place)
  const world = createTestWorld({ identities: { consumer: identity } })
  let options: SignerOptions = {
    ...place,
    trustAnchor: world.trustAnchor,
    signaturesPerSecondMax,
    now: () => world.now,
  }
  let signer = await openSigner(options)
  let kid = ''

  const methods: Omit<TestSigner, 'milliseconds'> = {
    world,
    get options() {
      return options
    },
    get signer() {
      return signer
    },
    get kid() {
      return kid
    },
    claims: (change = {}) =>
      JSON.stringify({
        iss: issuers.consumer,
        sub: 'user-1',
        aud: mailAudience,
        client_id: 'client-1',
        iat: world.now,
        exp: world.now + 300,
        scope: 'mail.read',
        tid: tenants.home,
        ...change,
      }),
    prepare: async (request = {}) => {
      const answer = await prepareOne(request)
      if ('error' in answer) throw new Error(`not prepared: ${answer.error.code}`)
      return answer
    },
    refusal: async (request) => {
      const answer = await prepareOne(request)
      return 'error' in answer ? answer.error.code : 'prepared'
    },
    complaint: async (request) => {
      const answer = await prepareOne(request)
      return 'error' in answer ? answer.error.message : undefined
    },
    receipt: ({ entry }) => {
      const bytes = decode(entry)
      const [receipt] = world.witness.append([bytes], decodeEntry(bytes).serial)
      return encode(receipt as Uint8Array)
    },
    sign: async ({ id }, receipt) => {
      const { signed } = await signer.sign({ requests: [{ id, receipt }] })
      return signed[0] as SignedAnswer | Problem
    },
    issue: async (request = {}) => {
      const prepared = await test.prepare(request)
      const signed = await test.sign(prepared, test.receipt(prepared))
      if ('error' in signed) throw new Error(`not signed: ${signed.error.code}`)
      return signed.token
    },
    addKey: async (algorithm, change = {}) => {
      const made = await signer.generate({ ...scopeRequest, alg: algorithm })
      const drafted = draftKey(world, made, change)
      world.publish(({ keys }) => ({ keys: [...keys, drafted] }))
      await test.bringTrust()
      return drafted.kid
    },
    bringTrust: async () => {
      await signer.trust({ charters: world.charterDocuments, manifest: world.manifestDocument })
    },
    crash: async () => {
      const crashed = signer
      const survived = newFolder()
      cpSync(options.folder, survived, { recursive: true })
      options = { ...options, ...placeIn(survived) }
      await crashed.stop()
      signer = await openSigner(options)
    },
    remove: async () => {
      await signer.stop()
      for (const folder of folders) rmSync(folder, { recursive: true })
    },
  }

  async function prepareOne(request: object): Promise<PreparedAnswer | Problem> {
    const { prepared } = await signer.prepare({
      requests: [{ type: 'access', claims: test.claims(), ...request }],
    })
    return prepared[0] as PreparedAnswer | Problem
  }

  // Each as it is: what the getters give changes.
  Object.defineProperties(test, Object.getOwnPropertyDescriptors(methods))
  kid = await test.addKey('ES256')
  return test
}

/** The manifest's entry for a key that a signer has made. */
export function draftKey(
  world: TestWorld,
  { jwk, attestation }: GeneratedKey,
  change: Partial<DraftKey> = {},
): DraftKey {
  const { kid, algorithm, jwk: bare } = importPublicJwk(jwk)
  // The world wants the private half only to forge with.
  const { privateKey } = world.keys.consumer
  // After the first of its slot, a key would have to be known for a while before it signs.
  const early =
    world.draft.keys.length === 0
      ? {}
      : { early: world.approve({ op: 'activate', kid }), notBefore: world.now - 60 }
  return world.draftKey({ kid, algorithm, jwk: bare, privateKey }, 'consumer', {
    attestation,
    ...early,
    ...change,
  })
}
