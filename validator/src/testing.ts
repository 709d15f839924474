/**
 * A whole small world of trust in memory, for tests: three operators of whom two approve, a charter with a consumer
 * and an enterprise realm, a witness that countersigns, a signing key per realm and the manifests that say so. Every
 * private key is at hand, so that a test can also play whoever stole one. Nothing here is for production.
 * @module
 */

import {
  generateKeyPairSync,
  hash,
  type KeyObject,
  randomBytes,
  randomUUID,
  sign as signBytes,
} from 'node:crypto'
import {
  APPROVAL_SECONDS_MAX,
  type Approval,
  type ApprovalDocument,
  type ApprovalTarget,
  approve,
  writeApproval,
} from './approval.ts'
import { type AttestedKey, attestKey } from './attestation.ts'
import { encode } from './base64url.ts'
import {
  approveCharter,
  type Charter,
  type CharterDocument,
  type TrustAnchor,
  verifyCharter,
} from './charter.ts'
import { type DocumentSignature, encodePayload, protectedHeader, readPayload } from './document.ts'
import { encodeEntry, entryOf, headerTypes, leafHash, type TokenType } from './entry.ts'
import { noForeignDenials } from './foreign-denials.ts'
import { signFreshness } from './freshness.ts'
import { type Algorithm, importPublicJwk, type PublicJwk, signInput } from './jws.ts'
import {
  composeManifest,
  type ManifestDocument,
  type ManifestDraft,
  manifestEntry,
  manifestSha256,
  signManifest,
  type TrustSource,
  type TrustState,
  verifyManifest,
} from './manifest.ts'
import { countersign, encodeReceipt, receiptKeyId, SUBTREE_SIZE_MAX } from './receipt.ts'
import type { Reason } from './refusal.ts'
import { coveringStart, proveEach } from './tree.ts'
import type { Decision } from './validator.ts'
import { challengeOf, type Passkey } from './webauthn.ts'

/** The audience of tokens in a test world, unless said otherwise. */
export const mailAudience = 'https://mail.countersign.example'
/** Tenants of the test realms, by id. */
export const tenants = {
  home: '11111111-1111-4111-8111-111111111111',
  fabrikam: '22222222-2222-4222-8222-222222222222',
  northwind: '33333333-3333-4333-8333-333333333333',
} as const
/** Issuers of the test realms, as templates. */
export const issuers = {
  consumer: 'https://login.consumer.example',
  enterprise: 'https://login.enterprise.example/{tenantid}/v2.0',
} as const
/** What a SET tells of, unless said otherwise. */
export const testEvent = 'https://countersign.example/secevent/event-type/test'
/** A realm of a test world. */
export type TestRealm = keyof typeof issuers
/** Which tenants each realm has. */
export const realmTenants: Readonly<Record<TestRealm, readonly string[]>> = {
  consumer: [tenants.home],
  enterprise: [tenants.fabrikam, tenants.northwind],
}

/** A key pair with its name. */
export interface TestKey {
  readonly kid: string
  readonly algorithm: Algorithm
  readonly jwk: PublicJwk
  readonly privateKey: KeyObject
}

/** A token to be issued. Left out: an access token of the realm's first tenant, as its signer would sign it now. */
export interface TestOrder {
  readonly realm?: TestRealm
  /** Whose signature; the realm's active key unless said otherwise. */
  readonly key?: TestKey
  readonly type?: TokenType
  /** Laid over the usual claims; undefined removes one. */
  readonly claims?: Readonly<Record<string, unknown>>
  /** Laid over the usual protected header; undefined removes a member. */
  readonly header?: Readonly<Record<string, unknown>>
  /** The receipt to carry; null for none. Left out: the witness countersigns the token. */
  readonly receipt?: Uint8Array | null
}

/** A world of trust with all its private keys at hand. */
export interface TestWorld {
  /** Seconds since the epoch, for every clock in this world. Tests move it. */
  now: number
  readonly operators: readonly (TestKey & { readonly id: string })[]
  readonly trustAnchor: TrustAnchor
  /** All charters, from the first. */
  readonly charterDocuments: readonly CharterDocument[]
  /** The newest. */
  readonly charter: Charter
  readonly manifestKey: TestKey
  readonly blockKey: TestKey
  /** Identity keys of the signers. */
  readonly signers: Readonly<Record<TestRealm, TestKey>>
  readonly witness: TestWitness
  /** The active signing key of each realm. */
  readonly keys: Readonly<Record<TestRealm, TestKey>>
  /** What the newest manifest was made from. */
  readonly draft: ManifestDraft
  readonly manifestDocument: ManifestDocument
  readonly state: TrustState
  /** Trust that is always fresh and always the newest state. */
  readonly trust: TrustSource
  /** A draft of the manifest's entry for a key; what is given is laid over the usual. */
  draftKey(
    key: TestKey,
    realm: TestRealm,
    change?: Partial<ManifestDraft['keys'][number]>,
  ): ManifestDraft['keys'][number]
  /** Approves the next charter, changed as `change` says, and publishes the next manifest under it. */
  amend(change?: (payload: Readonly<Record<string, unknown>>) => object): TrustState
  /** Publishes the next manifest, changed as `change` says. */
  publish(change?: (draft: ManifestDraft) => Partial<ManifestDraft>): TrustState
  /** An approval by two operators under the newest charter, as of now; `change` is laid over it. */
  approve(target: ApprovalTarget, change?: Partial<Approval>): ApprovalDocument
  /** Publishes the next manifest, in which one key is in another state; one that was blocked, by an approval. */
  setState(kid: string, state: ManifestDraft['keys'][number]['state']): TrustState
  /** A vouching for the newest manifest, as of now. */
  freshness(): string
  /** Issues a token with a receipt of its own. */
  issue(order?: TestOrder): string
  /** Issues tokens whose receipts share their signatures. */
  issueBatch(orders: readonly TestOrder[]): readonly string[]
}

/** What a world begins with. */
export interface TestWorldOptions {
  /** When it begins. */
  readonly now?: number
  /** Identity keys of signers that are not this world's: their realms begin without keys. */
  readonly identities?: Readonly<Partial<Record<TestRealm, PublicJwk>>>
}

/** Makes a world in a few milliseconds. */
export function createTestWorld({ now = 1_800_000_000, identities = {} }: TestWorldOptions = {}): TestWorld {
  const operators = ['olga', 'omar', 'opal'].map((id) => ({ id, ...createTestKey('EdDSA') }))
  const trustAnchor = { operators: operators.map(({ id, jwk }) => ({ id, jwk })), threshold: 2 }
  const [manifestKey, blockKey] = [createTestKey('ES256'), createTestKey('EdDSA')]
  const signers = { consumer: createTestKey('EdDSA'), enterprise: createTestKey('EdDSA') }
  const witness = createTestWitness()
  const approveNext = (charter: object): CharterDocument =>
    operators
      .slice(0, trustAnchor.threshold)
      .reduce((before, { privateKey }) => approveCharter(before, privateKey), charter) as CharterDocument
  const charterDocuments = [
    approveNext({
      version: 1,
      iat: now - 1000,
      ...trustAnchor,
      manifest_keys: [manifestKey.jwk],
      block_keys: [blockKey.jwk],
      witnesses: [
        {
          name: witness.name,
          receipt_key: witness.receiptKey.jwk,
          checkpoint_keys: [witness.checkpointKey.jwk],
        },
      ],
      realms: Object.fromEntries(
        testRealms.map((realm) => [
          realm,
          {
            issuers: [issuers[realm]],
            tenants: realmTenants[realm],
            token_types: ['access', 'id', 'logout', 'set'],
            algs: ['ES256', 'EdDSA', 'PS256', 'RS256', 'ML-DSA-44'],
            max_ttl: 3600,
            signers: [identities[realm] ?? signers[realm].jwk],
            rotation_seconds: DAY_SECONDS,
            key_age_max: 14 * DAY_SECONDS,
            overlap_seconds: 3660,
            cache_seconds: 600,
            acknowledge_seconds: 60,
          },
        ]),
      ),
    }),
  ]
  let charter = verifyCharter(charterDocuments[0], trustAnchor)
  const keys = { consumer: createTestKey('ES256'), enterprise: createTestKey('ES256') }
  const serials = new Map<string, number>()
  let draft: ManifestDraft = {
    version: 0,
    charterVersion: 1,
    issuedAt: now,
    expiresAt: now + DAY_SECONDS,
    keys: [],
    logs: [{ origin: witness.origin, witness: witness.name, state: 'open' }],
    cutoffs: [],
    acts: [],
    breakGlass: [],
    pruned: [],
    foreign: noForeignDenials,
  }
  let manifestDocument: ManifestDocument
  let state: TrustState

  const world: TestWorld = {
    now,
    operators,
    trustAnchor,
    charterDocuments,
    get charter() {
      return charter
    },
    manifestKey,
    blockKey,
    signers,
    witness,
    keys,
    get draft() {
      return draft
    },
    get manifestDocument() {
      return manifestDocument
    },
    get state() {
      return state
    },
    trust: {
      get state() {
        return state
      },
      ageSeconds: () => 0,
    },
    draftKey: (key, realm, change = {}) => {
      const scope: AttestedKey = {
        kid: key.kid,
        algorithm: key.algorithm,
        realm,
        issuer: issuers[realm],
        tenants: realmTenants[realm],
        tokenTypes: ['access', 'id', 'logout', 'set'],
        audiences: undefined,
        lifetimeSecondsMax: 3600,
        // As old as the window: known to every cache by now.
        issuedAt: world.now - 3600,
      }
      const { issuedAt: _, ...published } = scope
      return {
        ...published,
        jwk: key.jwk,
        state: 'active',
        notBefore: world.now - 3600,
        signUntil: world.now + DAY_SECONDS,
        verifyUntil: world.now + DAY_SECONDS + 3600,
        revoked: undefined,
        blocked: undefined,
        attestation: attestKey(scope, signers[realm].privateKey),
        lifted: undefined,
        early: undefined,
        ...change,
      }
    },
    amend: (change = () => ({})) => {
      const { payload } = charterDocuments.at(-1) as CharterDocument
      const next = { ...readPayload(payload), version: charter.version + 1, iat: world.now }
      const document = approveNext({ ...next, ...change(next) })
      charter = verifyCharter(document, charter)
      charterDocuments.push(document)
      return world.publish(() => ({ charterVersion: charter.version }))
    },
    publish: (change = () => ({})) => {
      const next = {
        ...draft,
        version: draft.version + 1,
        issuedAt: world.now,
        expiresAt: world.now + DAY_SECONDS,
      }
      const wanted = { ...next, ...change(next) }
      const segment = composeManifest(wanted, charter)
      draft = wanted
      const [receipt] = witness.append([encodeEntry(manifestEntry(segment, manifestKey.kid))], draft.version)
      manifestDocument = signManifest(segment, receipt as Uint8Array, manifestKey.privateKey)
      state = { charter, manifest: verifyManifest(manifestDocument, charter) }
      return state
    },
    approve: (target, change = {}) => {
      const approval = {
        target,
        reason: 'planned',
        proposer: 'olga',
        issuedAt: world.now,
        expiresAt: world.now + APPROVAL_SECONDS_MAX,
        jti: encode(randomBytes(16)),
        charterVersion: charter.version,
        ...change,
      }
      return operators
        .slice(0, trustAnchor.threshold)
        .reduce(
          (before, { privateKey }) => approve(before, privateKey),
          writeApproval(approval),
        ) as ApprovalDocument
    },
    setState: (kid, keyState) => {
      const at = world.now
      const records = {
        revoked: keyState === 'revoked' ? { at, reason: 'stolen' } : undefined,
        blocked: keyState === 'blocked' ? { at, reason: 'suspected', by: 'olga' } : undefined,
      }
      const liftOf = ({ blocked }: ManifestDraft['keys'][number]): ApprovalDocument | undefined =>
        blocked && world.approve({ op: 'lift', kid, blockedAt: blocked.at })
      const isLive = keyState === 'published' || keyState === 'active' || keyState === 'retiring'
      const change = (key: ManifestDraft['keys'][number]): ManifestDraft['keys'][number] => {
        if (key.kid !== kid) return key
        const lifted = (isLive && liftOf(key)) || key.lifted
        return { ...key, state: keyState, ...records, lifted }
      }
      return world.publish(({ keys: before }) => ({ keys: before.map(change) }))
    },
    freshness: () =>
      signFreshness(
        {
          version: draft.version,
          manifestSha256: manifestSha256(manifestDocument),
          issuedAt: world.now,
        },
        manifestKey.privateKey,
      ),
    issue: (order = {}) => world.issueBatch([order])[0] as string,
    issueBatch: (orders) => {
      const prepared = orders.map(prepare)
      const entries = prepared.filter(({ order }) => order.receipt === undefined)
      const receipts = witness.append(
        entries.map(({ entry }) => entry()),
        ...entries.map(({ serial }) => serial),
      )
      return prepared.map((each) => sign(each, each.order.receipt ?? receipts[entries.indexOf(each)]))
    },
  }

  function prepare(order: TestOrder): Prepared {
    const { realm = 'consumer', key = keys[realm], type = 'access' } = order
    const tenant = (order.claims?.['tid'] as string | undefined) ?? (realmTenants[realm][0] as string)
    const common = {
      iss: issuers[realm].replace('{tenantid}', tenant),
      aud: mailAudience,
      iat: world.now,
      jti: randomUUID(),
    }
    const claims: typeof common & { readonly exp?: number } = {
      ...common,
      ...(type === 'set'
        ? { sub_id: { format: 'opaque', id: 'session-1' }, events: { [testEvent]: {} } }
        : { sub: 'user-1', client_id: 'client-1', exp: world.now + 300, scope: 'mail.read', tid: tenant }),
      ...order.claims,
    }
    const serial = (serials.get(key.kid) ?? 0) + 1
    serials.set(key.kid, serial)
    const payloadSegment = encodePayload(claims)
    const entry = (): Uint8Array =>
      encodeEntry(
        entryOf({
          tokenType: type,
          kid: key.kid,
          issuedAt: claims.iat,
          expiresAt: claims.exp ?? claims.iat,
          serial,
          payloadSegment,
        }),
      )
    return { order, key, type, serial, payloadSegment, entry }
  }

  world.publish(() => ({
    keys: testRealms
      .filter((realm) => identities[realm] === undefined)
      .flatMap((realm) => [
        world.draftKey(keys[realm], realm),
        world.draftKey(createTestKey('ES256'), realm, { state: 'published' }),
      ]),
  }))
  return world
}

/** A decision in a word. */
export function verdictOf(decision: Decision): 'accepted' | Reason {
  return decision.accepted ? 'accepted' : decision.refusal.reason
}

/** Makes a key pair of the algorithm. */
export function createTestKey(algorithm: Algorithm): TestKey {
  const { publicKey, privateKey } = generate(algorithm)
  const { kid, jwk } = importPublicJwk({ ...publicKey.export({ format: 'jwk' }), alg: algorithm })
  return { kid, algorithm, jwk, privateKey }
}

/** Where the passkeys of tests live. */
export const testPasskey: Passkey = {
  rpId: 'countersign.example',
  origins: ['https://approve.countersign.example'],
}

/** How an assertion differs from a good one; it is signed as it then is. */
export interface AssertionChange {
  /** Laid over the client data; undefined removes a member. */
  readonly clientData?: Readonly<Record<string, unknown>>
  /** Instead of the client data. */
  readonly clientDataText?: string
  readonly rpId?: string
  /** User present is 0x01, user verified 0x04. */
  readonly flags?: number
  readonly authenticatorData?: (data: Buffer) => Buffer
  readonly signatureEncoding?: 'der' | 'ieee-p1363'
}

/** The line with which a passkey of `testPasskey` signs a document, as browser and authenticator write it. */
export function passkeyLine(
  key: Pick<TestKey, 'algorithm' | 'jwk' | 'privateKey'>,
  type: string,
  payloadSegment: string,
  change: AssertionChange = {},
): DocumentSignature {
  const segment = protectedHeader(key.jwk, type)
  const clientData = {
    type: 'webauthn.get',
    challenge: encode(challengeOf(`${segment}.${payloadSegment}`)),
    origin: testPasskey.origins[0],
    crossOrigin: false,
    ...change.clientData,
  }
  const clientBytes = Buffer.from(change.clientDataText ?? JSON.stringify(clientData))
  // Web Authentication Level 3, section 6.1: the hash of the domain, flags, and a count of signatures.
  const rpIdHash = hash('sha256', change.rpId ?? testPasskey.rpId, 'buffer')
  const data = Buffer.concat([rpIdHash, Buffer.from([change.flags ?? 0x05]), Buffer.alloc(4)])
  const authenticatorData = change.authenticatorData?.(data) ?? data
  const signed = Buffer.concat([authenticatorData, hash('sha256', clientBytes, 'buffer')])
  const dsaEncoding = change.signatureEncoding ?? 'der'
  const signature =
    key.algorithm === 'ES256'
      ? signBytes('sha256', signed, { key: key.privateKey, dsaEncoding })
      : signBytes(null, signed, key.privateKey)
  return {
    protected: segment,
    signature: encode(signature),
    header: { authenticator_data: encode(authenticatorData), client_data: encode(clientBytes) },
  }
}

/** A log in memory, and the keys of its witness. */
export interface TestWitness {
  readonly name: string
  readonly origin: string
  readonly receiptKey: TestKey
  readonly checkpointKey: TestKey
  /** What it logged, encoded. */
  readonly entries: readonly Uint8Array[]
  readonly leafHashes: readonly Uint8Array[]
  /** Logs encoded entries as one batch and gives a receipt for each; `serials` in the same order. */
  append(entries: readonly Uint8Array[], ...serials: readonly number[]): readonly Uint8Array[]
}

/** Makes a witness with an empty log and keys of its own. */
export function createTestWitness(name = 'witness.example', epoch = '2026'): TestWitness {
  const [receiptKey, checkpointKey] = [createTestKey('ES256'), createTestKey('EdDSA')]
  const origin = `${name}/${epoch}`
  const keyId = receiptKeyId(origin, importPublicJwk(receiptKey.jwk).key)
  const logged: Uint8Array[] = []
  const leafHashes: Uint8Array[] = []

  /** Receipts for the leaves from `first` to `end`, which lie in one window. */
  function receiptsFor(first: number, end: number, serials: readonly number[]): Uint8Array[] {
    const start = end - first === 1 ? first : coveringStart(first, end)
    const { root, paths } = proveEach(leafHashes.slice(start, end))
    const signature = countersign(name, origin, { start, end }, root, receiptKey.privateKey)
    return serials.map((serial, at) => {
      const offset = first + at - start
      const path = paths[offset] as readonly Uint8Array[]
      return encodeReceipt({ keyId, serial, start, size: end - start, offset, path, signature })
    })
  }

  return {
    name,
    origin,
    receiptKey,
    checkpointKey,
    entries: logged,
    leafHashes,
    append: (entries, ...serials) => {
      const receipts: Uint8Array[] = []
      let first = leafHashes.length
      logged.push(...entries)
      leafHashes.push(...entries.map(leafHash))
      while (first < leafHashes.length) {
        const windowEnd = (Math.floor(first / SUBTREE_SIZE_MAX) + 1) * SUBTREE_SIZE_MAX
        const end = Math.min(leafHashes.length, windowEnd)
        const at = receipts.length
        receipts.push(...receiptsFor(first, end, serials.slice(at, at + end - first)))
        first = end
      }
      return receipts
    },
  }
}

interface Prepared {
  readonly order: TestOrder
  readonly key: TestKey
  readonly type: TokenType
  readonly serial: number
  readonly payloadSegment: string
  entry(): Uint8Array
}

function sign(
  { order, key, type, payloadSegment }: Prepared,
  receipt: Uint8Array | null | undefined,
): string {
  const header = {
    alg: key.algorithm,
    typ: headerTypes[type],
    kid: key.kid,
    ...(receipt && { rcpt: encode(receipt) }),
    ...order.header,
  }
  const input = `${encodePayload(header)}.${payloadSegment}`
  return `${input}.${encode(signInput(key.algorithm, key.privateKey, input))}`
}

function generate(algorithm: Algorithm): { publicKey: KeyObject; privateKey: KeyObject } {
  switch (algorithm) {
    case 'ES256':
      return generateKeyPairSync('ec', { namedCurve: 'P-256' })
    case 'EdDSA':
      return generateKeyPairSync('ed25519')
    case 'PS256':
    case 'RS256':
      return generateKeyPairSync('rsa', { modulusLength: 2048 })
    case 'ML-DSA-44':
      return generateKeyPairSync('ml-dsa-44')
    default:
      return algorithm satisfies never
  }
}

const testRealms: readonly TestRealm[] = ['consumer', 'enterprise']
const DAY_SECONDS = 24 * 3600
