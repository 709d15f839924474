/**
 * What every step of the drill has at hand: the system under attack, the validator of 2023 beside it, the attacker's
 * tools and, for what has to be set right between two steps, an operator's key.
 * @module
 */

import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { type Command, fetchValidators } from '@countersign/authority/client'
import { agree, type Operated, operate } from '@countersign/cli/client'
import { createValidator, type Validator } from '@countersign/validator'
import { type Follower, followManifest } from '@countersign/validator/follow'
import type { KeyState, ManifestKey, TrustState } from '@countersign/validator/manifest'
import { decodeProtectedHeader } from 'jose'
import { accessClaims, type StolenKey } from './forge.ts'
import { createNaiveValidator, type NaiveValidator } from './naive.ts'
import type { System, SystemUnderAttack } from './system.ts'

export type Realm = 'consumer' | 'enterprise'

/** What a protected service answered. */
export interface Answer {
  readonly accepted: boolean
  readonly reason: string | undefined
}

/** Longer than any single thing of the drill may take. */
const PATIENCE_MILLISECONDS = 15_000

export class Arena {
  readonly ready: System
  readonly data: string
  readonly naive: NaiveValidator
  /** A validator of both realms that reports to nobody: what one decides that the sentinel cannot hear. */
  readonly validator: Validator
  readonly enterpriseValidator: Validator
  readonly follower: Follower
  #heard: (() => void)[] = []

  private constructor({ ready, data }: SystemUnderAttack, trustAnchor: never) {
    this.ready = ready
    this.data = data
    this.naive = createNaiveValidator([
      ready.realms.consumer.jwks_uri,
      ...ready.realms.enterprise.issuers.map(({ jwks_uri }) => jwks_uri),
    ])
    this.follower = followManifest({
      authority: ready.authority.url,
      trustAnchor,
      onState: () => {
        for (const hear of this.#heard.splice(0)) hear()
      },
    })
    const question = { audience: ready.gateway.audience, trust: this.follower }
    this.validator = createValidator({ realm: ['consumer', 'enterprise'], ...question })
    this.enterpriseValidator = createValidator({ realm: 'enterprise', ...question })
  }

  static async open(system: SystemUnderAttack): Promise<Arena> {
    const anchor = JSON.parse(await readFile(system.ready.authority.trust_anchor, 'utf8')) as never
    const arena = new Arena(system, anchor)
    await arena.follower.ready()
    await arena.naive.refresh()
    return arena
  }

  async close(): Promise<void> {
    await this.follower.stop()
  }

  /** The private key that a thief with the keystore file and its passphrase gets. */
  async steal(realm: Realm, kid: string): Promise<StolenKey> {
    return { ...(await this.#runSteal(['--realm', realm, `--kid=${kid}`])), kid }
  }

  async stealWitnessKey(): Promise<StolenKey> {
    return this.#runSteal(['--realm', 'consumer', '--witness'])
  }

  async #runSteal(args: readonly string[]): Promise<StolenKey> {
    const steal = fileURLToPath(new URL('./steal.ts', import.meta.url))
    const { stdout } = await promisify(execFile)(process.execPath, [steal, '--data', this.data, ...args])
    return JSON.parse(stdout)
  }

  /** Asks the gateway, which reports to the sentinel. */
  async ask(token: string): Promise<Answer> {
    const response = await fetch(`${this.ready.gateway.url}/auth`, {
      headers: { authorization: `Bearer ${token}` },
    })
    return { accepted: response.ok, reason: response.headers.get('x-countersign-reason') ?? undefined }
  }

  /** A token that the realm's issuer issued, by client credentials. */
  async genuineToken(realm: Realm): Promise<string> {
    const client = this.clientFor(realm, 'client_credentials')
    const { status, body } = await this.askTokenEndpoint(realm, client, { grant_type: 'client_credentials' })
    if (status !== 200) throw new Error(`${realm} gave no token: ${status} ${String(body['error'])}`)
    return String(body['access_token'])
  }

  clientFor(realm: Realm, grantType: string) {
    const client = this.ready.realms[realm].clients.find(({ grant_types }) => grant_types.includes(grantType))
    if (client === undefined) throw new Error(`${realm} has no client for ${grantType}`)
    return client
  }

  async askTokenEndpoint(
    realm: Realm,
    client: { readonly client_id: string; readonly client_secret: string },
    form: Readonly<Record<string, string>>,
  ): Promise<{ status: number; body: Record<string, unknown> }> {
    const metadata = await fetch(`${this.issuerOf(realm)}/.well-known/openid-configuration`)
    const { token_endpoint } = (await metadata.json()) as { token_endpoint: string }
    const credentials = Buffer.from(`${client.client_id}:${client.client_secret}`).toString('base64')
    const response = await fetch(token_endpoint, {
      method: 'POST',
      headers: { authorization: `Basic ${credentials}` },
      body: new URLSearchParams(form),
    })
    return { status: response.status, body: (await response.json()) as Record<string, unknown> }
  }

  issuerOf(realm: Realm, tenantIndex = 0): string {
    const { consumer, enterprise } = this.ready.realms
    return realm === 'consumer' ? consumer.issuer : (enterprise.issuers[tenantIndex]?.issuer ?? '')
  }

  /** Claims of an access token that a person of the realm would have got. */
  victim(realm: Realm): Record<string, unknown> {
    const [person] = this.ready.realms[realm].people
    const { sub = randomUUID(), tenant: tid = '' } = person ?? {}
    return accessClaims({ iss: this.issuerOf(realm), sub, tid, aud: this.ready.gateway.audience })
  }

  /** The newest key of the realm that signs access tokens and is in a state, if there is one. */
  keyInState(realm: Realm, state: KeyState): string | undefined {
    const keys = [...(this.follower.state?.manifest.keys.values() ?? [])]
    const isMeant = (key: ManifestKey): boolean =>
      key.realm === realm && key.state === state && key.tokenTypes.includes('access')
    return keys.filter(isMeant).at(-1)?.kid
  }

  /**
   * A signing key that nobody has misused yet, active and acknowledged, and stolen at once. Most steps burn the key
   * that they forge with, since the sentinel blocks it by itself.
   */
  async stealFreshKey(realm: Realm): Promise<StolenKey> {
    const before = this.keyInState(realm, 'active')
    await this.waitFor(() => this.keyInState(realm, 'published') !== undefined)
    // No drill waits for the slowest cache, so two people let the next key sign at once.
    const next = this.keyInState(realm, 'published') ?? ''
    await agree(this.ready.authority, { op: 'activate', kid: next }, 'drill')
    await this.waitFor(() => ![undefined, before].includes(this.keyInState(realm, 'active')))
    // The signer hears of it a moment after the validators do, and may have no key until then: the one before is blocked by now.
    await poll(async () => {
      const token = await this.genuineToken(realm).catch(() => undefined)
      return token !== undefined && decodeProtectedHeader(token).kid === next
    })
    await this.naive.refresh()
    return this.steal(realm, this.keyInState(realm, 'active') ?? '')
  }

  /** Gives a command as an operator; settles when every validator has acknowledged what came of it. */
  async command(command: Command): Promise<Operated> {
    return operate(this.ready.authority, command)
  }

  /** Has nobody wait any more for the validators whose names begin so. */
  async removeValidators(prefix: string): Promise<void> {
    const { authority } = this.ready
    const names = (await fetchValidators(authority.url)).map(({ name }) => name)
    for (const name of names.filter((each) => each.startsWith(prefix)))
      await agree(authority, { op: 'remove-validator', name }, 'drill')
  }

  /** Settles once the manifest that is followed here is as `holds` asks. */
  async waitFor(holds: (state: TrustState | undefined) => boolean): Promise<void> {
    const late = AbortSignal.timeout(PATIENCE_MILLISECONDS)
    while (!holds(this.follower.state)) {
      await new Promise<void>((resolve, reject) => {
        this.#heard.push(resolve)
        late.onabort = () => reject(new Error('the manifest did not become what the step needs'))
      })
    }
  }

  /** The alerts raised so far about a key, newest first. */
  async alertsAbout(kid: string): Promise<readonly Alert[]> {
    const response = await fetch(this.ready.sentinel.alerts)
    return ((await response.json()) as readonly Alert[]).filter((alert) => alert.kid === kid)
  }

  /** Settles with the first alert about a key that `wanted` takes. */
  async waitForAlert(kid: string, wanted: (alert: Alert) => boolean = () => true): Promise<Alert> {
    return poll(async () => (await this.alertsAbout(kid)).find(wanted))
  }
}

export interface Alert {
  readonly id: string
  readonly rule: string
  readonly kid: string | null
  readonly reason: string | null
}

const POLL_MILLISECONDS = 10

/** Asks again until the answer is something, as whoever watches a system from outside has to. */
export async function poll<Result>(ask: () => Promise<Result>): Promise<NonNullable<Result>> {
  const endsAt = performance.now() + PATIENCE_MILLISECONDS
  for (;;) {
    const result = await ask()
    if (result) return result
    if (performance.now() > endsAt) throw new Error('what the step waits for did not come')
    await new Promise((resolve) => setTimeout(resolve, POLL_MILLISECONDS))
  }
}
