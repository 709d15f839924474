/**
 * ES256 signatures per second: bare, as Node and as a PKCS#11 module make them, and through a whole confined signer, which
 * reads claims, decides, counts durably, checks a receipt, signs and verifies. The same on keys in a file and in SoftHSM2.
 * @module
 */

import { execFile, fork } from 'node:child_process'
import { generateKeyPairSync, sign } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import {
  createSoftToken,
  missingSoftHsm,
  type SignerProcess,
  type SoftToken,
  startSigner,
} from '@countersign/signer/client'
import { decode, encode } from '@countersign/validator/base64url'
import { decodeEntry } from '@countersign/validator/entry'
import { importPublicJwk, type PublicJwk } from '@countersign/validator/jws'
import {
  createTestWorld,
  issuers,
  mailAudience,
  type TestWorld,
  tenants,
} from '@countersign/validator/testing'
import { type Contender, type Result, runRounds, synchronous } from './rounds.ts'

const BATCH = 128
/** As many as a broker has under way. */
const LANES = 3

const signerMain = fileURLToPath(import.meta.resolve('@countersign/signer/client')).replace(
  'client.ts',
  'main.ts',
)

/** The results, and why rows are missing, if some are. */
export async function measureSignatures(): Promise<{ results: Result[]; missing: string | undefined }> {
  const folder = mkdtempSync(join(tmpdir(), 'countersign-bench-'))
  const missing = missingSoftHsm()
  const stops: (() => Promise<unknown>)[] = []
  try {
    const onFile = await startOn(join(folder, 'file'), undefined)
    stops.push(onFile.stop)
    const contenders = [rawSign(), throughSigner('signer, keys in a file', onFile)]
    if (missing === undefined) {
      const token = await createSoftToken(folder)
      const raw = await startRaw(token)
      const onToken = await startOn(join(folder, 'token'), token)
      stops.push(raw.stop, onToken.stop)
      contenders.push(raw.contender, throughSigner('signer, keys in SoftHSM2', onToken))
    }
    const results = await runRounds(contenders, { base: RAW, rounds: 7, milliseconds: 500 })
    return { results, missing }
  } finally {
    for (const stop of stops) await stop()
    rmSync(folder, { recursive: true, force: true })
  }
}

const RAW = 'crypto.sign alone'

function rawSign(): Contender {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const key = { key: privateKey, dsaEncoding: 'ieee-p1363' } as const
  const input = Buffer.alloc(600, 'x')
  return synchronous(RAW, () => sign('sha256', input, key))
}

async function startRaw({ modulePath, pinFile, environment }: SoftToken) {
  const child = fork(fileURLToPath(new URL('./raw-pkcs11.ts', import.meta.url)), [modulePath, pinFile], {
    env: { ...environment },
  })
  await once(child, 'message')
  const measure = async (milliseconds: number): Promise<number> => {
    child.send(milliseconds)
    const [perSecond] = (await once(child, 'message')) as [number]
    return perSecond
  }
  return { contender: { name: 'PKCS#11 alone, SoftHSM2', measure }, stop: async () => child.kill() }
}

interface Running {
  readonly world: TestWorld
  readonly signer: SignerProcess
  stop(): Promise<void>
}

/** A signer in a world of trust of its own, with a key that may sign. */
async function startOn(folder: string, token: SoftToken | undefined): Promise<Running> {
  const passphraseFile = token?.pinFile ?? `${folder}.passphrase`
  if (token === undefined) writeFileSync(passphraseFile, encode(Buffer.alloc(32, 7)), { mode: 0o600 })
  const keystore = token?.uri ?? join(folder, 'keystore.age')
  const where = ['--keystore', keystore, '--folder', folder, '--passphrase-file', passphraseFile]
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [signerMain, 'init', '--realm', 'consumer', ...where],
    { env: { ...token?.environment } },
  )
  const { jwk } = JSON.parse(stdout) as { jwk: PublicJwk }
  const world = createTestWorld({ now: Math.floor(Date.now() / 1000), identities: { consumer: jwk } })
  const trustAnchor = `${folder}.anchor.json`
  writeFileSync(trustAnchor, JSON.stringify(world.trustAnchor))
  const signer = await startSigner({
    realm: 'consumer',
    keystore,
    folder,
    passphraseFile,
    trustAnchor,
    environment: token?.environment,
    signaturesPerSecondMax: 1_000_000,
  })
  const made = await signer.generate({
    alg: 'ES256',
    iss: issuers.consumer,
    tenants: [tenants.home],
    token_types: ['access', 'id', 'logout'],
    max_ttl: 3600,
  })
  const key = importPublicJwk(made.jwk)
  const drafted = world.draftKey({ ...key, privateKey: world.keys.consumer.privateKey }, 'consumer', {
    attestation: made.attestation,
    tokenTypes: ['access', 'id', 'logout'],
  })
  world.publish(({ keys }) => ({ keys: [...keys, drafted] }))
  await signer.trust({ charters: world.charterDocuments, manifest: world.manifestDocument })
  return { world, signer, stop: () => signer.stop() }
}

function throughSigner(name: string, { world, signer }: Running): Contender {
  const claims = (): string => {
    const iat = Math.floor(Date.now() / 1000)
    return JSON.stringify({
      iss: issuers.consumer,
      sub: 'user-1',
      aud: mailAudience,
      client_id: 'client-1',
      iat,
      exp: iat + 300,
      scope: 'mail.read',
      tid: tenants.home,
    })
  }
  const signBatch = async (): Promise<void> => {
    const requests = Array.from({ length: BATCH }, () => ({ type: 'access' as const, claims: claims() }))
    const prepared = await signer.prepare(requests)
    const entries = prepared.map((each) => {
      if ('error' in each) throw new Error(`not prepared: ${each.error.message}`)
      return { id: each.id, bytes: decode(each.entry) }
    })
    const receipts = world.witness.append(
      entries.map(({ bytes }) => bytes),
      ...entries.map(({ bytes }) => decodeEntry(bytes).serial),
    )
    const signed = await signer.sign(
      entries.map(({ id }, at) => ({ id, receipt: encode(receipts[at] as Uint8Array) })),
    )
    for (const each of signed) if ('error' in each) throw new Error(`not signed: ${each.error.message}`)
  }
  return {
    name,
    measure: async (milliseconds) => {
      const startedAt = performance.now()
      let count = 0
      const lane = async (): Promise<void> => {
        while (performance.now() - startedAt < milliseconds) {
          await signBatch()
          count += BATCH
        }
      }
      await Promise.all(Array.from({ length: LANES }, lane))
      return (count / (performance.now() - startedAt)) * 1000
    },
  }
}
