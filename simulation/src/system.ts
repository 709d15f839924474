/**
 * The whole system in one simulated world: witness, authority, broker with its signers, validators, and who asks for
 * tokens, each as processes of a host of its own. What runs is what runs in production, from the same entry points; only
 * the ceremony is written down here, since nobody plays the operators.
 * @module
 */

import { EventEmitter } from 'node:events'
import { dirname } from 'node:path'
import { enrol } from '@countersign/authority/client'
import { configSchema as authorityConfig, initAuthority, startAuthority } from '@countersign/authority/core'
import { type Broker, connectBroker } from '@countersign/broker/client'
import { configSchema as brokerConfig, startBroker } from '@countersign/broker/core'
import { initSigner, openSigner, type Signer, serveSigner } from '@countersign/signer/core'
import {
  approveCharter,
  type CharterDocument,
  parseTrustAnchor,
  type TrustAnchor,
} from '@countersign/validator/charter'
import { bearerAllowed, type ConnectedValidator, connectValidator } from '@countersign/validator/connect'
import { publicHalf } from '@countersign/validator/document'
import { initWitness, startWitness, configSchema as witnessConfig } from '@countersign/witness/core'
import { closeAllDatabases } from './database.ts'
import { Disk } from './disk.ts'
import { closeAllFiles, disks } from './files.ts'
import { type KeyPair, Keys } from './keys.ts'
import { Network } from './network.ts'
import type { Oracle } from './oracle.ts'
import { CACHE_SECONDS, type Plan, type RealmName } from './plan.ts'
import { Random } from './random.ts'
import { type Host, Process, Scheduler } from './scheduler.ts'
import { timers } from './timers.ts'
import { beginWorld, World } from './world.ts'

export const AUTHORITY = 'http://authority/'
export const AUDIENCE = 'https://mail.example'
export const WITNESS_SOCKET = '/sim/run/witness.sock'
const ADMIN_SOCKET = '/sim/run/broker-admin.sock'
const ETC = '/sim/etc'
const ENROLMENT_TOKEN = 'whoever-has-this-may-enrol'

export const issuers: Readonly<Record<RealmName, string>> = {
  consumer: 'https://login.consumer.example',
  enterprise: 'https://login.enterprise.example/{tenantid}/v2.0',
}
export const tenants: Readonly<Record<RealmName, string>> = {
  consumer: '11111111-1111-4111-8111-111111111111',
  enterprise: '22222222-2222-4222-8222-222222222222',
}
/** The least that a charter may say beyond the life of a token. */
const OVERLAP_SECONDS = 60
/** How often a key could have been replaced before it grows too old to sign. */
const ROTATIONS_PER_AGE = 4

export interface Operator extends KeyPair {
  readonly id: string
}

/** A process that is started again whenever it ends, as a machine's init does. */
export class Service<Running = unknown> {
  readonly name: string
  readonly host: Host
  process: Process | undefined
  running: Running | undefined
  /** Stays down until somebody starts it. */
  isHeldDown = false
  readonly #system: System
  readonly #start: () => Promise<Running>

  constructor(system: System, name: string, host: Host, start: () => Promise<Running>) {
    this.#system = system
    this.name = name
    this.host = host
    this.#start = start
  }

  boot(): void {
    if (this.process?.isAlive) return
    const { scheduler, random } = this.#system
    const process = new Process(this.name, this.host, scheduler.now)
    this.process = process
    process.onEnd(() => {
      this.running = undefined
      this.#system.oracle.note(`${this.name} ended`)
      if (this.isHeldDown) return
      scheduler.after(random.between(500, 4000), this.#system.init, () => {
        if (!this.isHeldDown) this.boot()
      })
    })
    scheduler.after(0, process, () => {
      this.#start().then(
        (running) => {
          if (!process.isAlive) return
          this.running = running
          this.#system.oracle.note(`${this.name} runs`)
        },
        (error: Error) => {
          if (!process.isAlive) return
          this.#system.oracle.onFailedStart(this.name, error)
          process.end()
        },
      )
    })
  }

  /** Ends the process at once; with a power cut, its host loses what was not synced. */
  crash(powerCut: boolean): void {
    this.process?.end()
    if (powerCut) this.host.disk.cutPower(this.#system.random)
  }
}

interface SignerProcess {
  readonly realm: string
  readonly process: Process
  readonly signer: Signer
}

export class System {
  readonly plan: Plan
  readonly oracle: Oracle
  readonly random: Random
  readonly scheduler = new Scheduler()
  readonly network: Network
  readonly world: World
  readonly hosts = new Map<string, Host>()
  /** The machines' own: starts what has ended. Never ends. */
  readonly init: Process
  operators: readonly Operator[] = []
  blockKey: KeyPair | undefined
  trustAnchor: TrustAnchor | undefined
  readonly charters: CharterDocument[] = []
  readonly services: Service[] = []
  readonly validators: Service<ConnectedValidator>[] = []
  readonly issuers = new Map<RealmName, Service<Broker>>()
  /** By realm, the signer that runs now. */
  readonly signers = new Map<string, SignerProcess>()

  constructor(seed: number, plan: Plan, oracle: Oracle) {
    this.plan = plan
    this.oracle = oracle
    this.random = new Random(seed ^ 0x5eed)
    closeAllFiles()
    closeAllDatabases()
    disks.clear()
    const wire = new Process('wire', this.host('wire'), 0)
    this.init = new Process('init', this.host('etc'), 0)
    this.network = new Network(this.scheduler, this.random, wire)
    this.world = new World({
      scheduler: this.scheduler,
      network: this.network,
      random: this.random,
      keys: new Keys(),
      spawn: (args) => this.#spawn(args),
    })
    beginWorld(this.world)
  }

  host(name: string): Host {
    const known = this.hosts.get(name)
    if (known !== undefined) return known
    const host = { name, skewMilliseconds: 0, disk: new Disk() }
    host.disk.makeFolder(`/sim/${name}`)
    this.hosts.set(name, host)
    disks.set(name, host.disk)
    return host
  }

  service(name: string): Service {
    return this.services.find((service) => service.name === name) as Service
  }

  /** Runs `act` as a process, and the world with it, until it settles. */
  async as<Result>(process: Process, act: () => Promise<Result> | Result): Promise<Result> {
    let outcome: { readonly result: Result } | { readonly error: unknown } | undefined
    this.scheduler.after(0, process, () => {
      Promise.resolve()
        .then(act)
        .then(
          (result) => {
            outcome = { result }
          },
          (error) => {
            outcome = { error }
          },
        )
    })
    await this.scheduler.run(600_000, () => outcome !== undefined)
    if (outcome === undefined) throw new Error(`${process.name} never finished`)
    if ('error' in outcome) throw outcome.error
    return outcome.result
  }

  /** Makes all keys and the first charter, and boots everything. */
  async start(): Promise<void> {
    await this.as(this.init, () => this.#holdCeremony())
    this.#defineServices()
    for (const service of this.services) service.boot()
  }

  /** Approves a charter by enough operators. */
  approve(charter: object): CharterDocument {
    return this.operators
      .slice(0, 2)
      .reduce<object>(
        (document, { privateKey }) => approveCharter(document, privateKey),
        charter,
      ) as CharterDocument
  }

  async #holdCeremony(): Promise<void> {
    const { keys } = this.world
    this.operators = ['olga', 'omar', 'opal'].map((id) => ({ id, ...keys.make('ed25519') }))
    this.blockKey = keys.make('ed25519')
    const people = this.operators.map(({ id, privateKey }) => ({ id, jwk: publicHalf(privateKey).jwk }))
    const anchor = { operators: people, threshold: 2 }
    for (const name of ['witness', 'authority', 'broker', 'run']) this.host(name)
    const { name, receipt_key, checkpoint_keys } = await initWitness('/sim/witness/data', 'witness.sim', '1')
    const authority = await initAuthority('/sim/authority/data')
    const realms: Record<string, object> = {}
    for (const realm of this.plan.realms) {
      const folder = `/sim/broker/${realm}`
      this.host('broker').disk.makeFolder(folder)
      this.#write(`${folder}/passphrase`, 'a passphrase')
      const signer = await initSigner({
        realm,
        keystore: `${folder}/keystore.age`,
        folder,
        secret: { value: 'a passphrase', stamp: undefined },
      })
      realms[realm] = {
        issuers: [issuers[realm]],
        tenants: [tenants[realm]],
        token_types: ['access'],
        algs: ['ES256'],
        signers: [signer],
        cache_seconds: CACHE_SECONDS,
        acknowledge_seconds: this.plan.acknowledgeSeconds,
        max_ttl: this.plan.tokenSeconds,
        overlap_seconds: this.plan.tokenSeconds + OVERLAP_SECONDS,
        rotation_seconds: this.plan.rotationSeconds,
        key_age_max: ROTATIONS_PER_AGE * this.plan.rotationSeconds,
      }
    }
    const charter = this.approve({
      version: 1,
      iat: Math.floor(this.world.trueTime / 1000) - 1000,
      ...anchor,
      manifest_keys: [authority.jwk],
      block_keys: [publicHalf(this.blockKey.privateKey).jwk],
      witnesses: [{ name, receipt_key, checkpoint_keys }],
      realms,
    })
    this.charters.push(charter)
    this.trustAnchor = parseTrustAnchor(anchor)
    this.#write(`${ETC}/anchor.json`, JSON.stringify(anchor))
    this.#write(`${ETC}/charter.json`, JSON.stringify(charter))
    this.#write(`${ETC}/enrolment-token`, ENROLMENT_TOKEN)
    // What a ceremony leaves is durable long before anything starts.
    for (const { disk } of this.hosts.values()) disk.restore(disk.copy())
  }

  #write(path: string, content: string): void {
    const [, , host = ''] = path.split('/', 3)
    const file = this.host(host).disk.open(path, { ...everything, truncate: true }, 0o600)
    file.write(0, Buffer.from(content))
  }

  #enrolment(name: string): { readonly name: string; readonly key: string } {
    const key = `/sim/${this.host(name).name}/enrolment.json`
    if (this.host(name).disk.file(key) === undefined) {
      const { privateKey } = this.world.keys.make('ed25519')
      this.#write(key, JSON.stringify(privateKey.export({ format: 'jwk' })))
      this.host(name).disk.restore(this.host(name).disk.copy())
    }
    return { name, key }
  }

  #defineServices(): void {
    const trust = { authority: AUTHORITY, trust_anchor: `${ETC}/anchor.json` }
    const charter = `${ETC}/charter.json`
    const witness = witnessConfig.parse({
      ...trust,
      charter,
      data: '/sim/witness/data',
      listen: { port: 80 },
      append_socket: WITNESS_SOCKET,
      enrolment: this.#enrolment('witness'),
    })
    this.#add('witness', () => startWitness(witness, this.#log('witness')))
    const authority = authorityConfig.parse({
      charter,
      trust_anchor: trust.trust_anchor,
      data: '/sim/authority/data',
      listen: { port: 80 },
      broker_socket: ADMIN_SOCKET,
      witness_socket: WITNESS_SOCKET,
      enrolment_token: `${ETC}/enrolment-token`,
      manifest_lifetime_seconds: 600,
      freshness_seconds: this.plan.freshnessSeconds,
    })
    this.#add('authority', () => startAuthority(authority, this.#log('authority')))
    const broker = brokerConfig.parse({
      ...trust,
      realms: Object.fromEntries(
        this.plan.realms.map((realm) => [
          realm,
          {
            socket: socketOf(realm),
            keystores: [
              {
                keystore: `/sim/broker/${realm}/keystore.age`,
                passphrase_file: `/sim/broker/${realm}/passphrase`,
              },
            ],
          },
        ]),
      ),
      admin_socket: ADMIN_SOCKET,
      witness_socket: WITNESS_SOCKET,
      enrolment: this.#enrolment('broker'),
    })
    this.#add('broker', () => startBroker(broker, this.#log('broker')))
    for (let at = 1; at <= this.plan.validatorCount; at++) {
      const name = `validator-${at}`
      const enrolment = this.#enrolment(name)
      this.validators.push(
        this.#add(name, async () =>
          connectValidator({
            realm: this.plan.realms,
            audience: AUDIENCE,
            authority: AUTHORITY,
            trustAnchorFile: trust.trust_anchor,
            stateFolder: `/sim/${name}/state`,
            enrolment: { name, keyFile: enrolment.key },
            // With and without, side by side: the verdicts have to be the same.
            pushedRoots: at % 2 === 0,
            [bearerAllowed]: "tokens of a simulation are nobody's",
            onProblem: (problem) => this.oracle.onProblem(name, problem),
          }),
        ),
      )
    }
    for (const realm of this.plan.realms) {
      this.issuers.set(
        realm,
        this.#add(`issuer-${realm}`, () => connectBroker(socketOf(realm))),
      )
    }
    void this.#enrolAll(['witness', 'broker', ...this.validators.map(({ name }) => name)])
  }

  #add<Running>(name: string, start: () => Promise<Running>): Service<Running> {
    const service = new Service(this, name, this.host(name), start)
    this.services.push(service as Service)
    return service
  }

  /** Makes everybody known to the authority, as whoever set the machines up did. */
  async #enrolAll(names: readonly string[]): Promise<void> {
    for (const name of names) {
      const file = this.host(name).disk.file(`/sim/${name}/enrolment.json`)
      const jwk = publicHalf(this.world.keys.read(JSON.parse(file?.read().toString() ?? '{}'))).jwk
      const attempt = (): void => {
        enrol(AUTHORITY, ENROLMENT_TOKEN, name, jwk).then(
          () => this.oracle.onEnrolled(name),
          () => timers.wait(500).then(attempt),
        )
      }
      this.scheduler.after(200, this.init, attempt)
    }
  }

  /** Starts a signer as the child of the broker that asks for it: what `main.ts` of the signer does. */
  #spawn(args: readonly string[]): unknown {
    const given = (name: string): string => args[args.indexOf(`--${name}`) + 1] ?? ''
    const parent = this.world.process
    const realm = given('realm')
    const child = new Process(`signer-${realm}`, parent.host, this.scheduler.now)
    const [socket, childSocket] = this.network.pair(parent, child)
    this.world.inheritedSockets.set(child, childSocket)
    const handle = Object.assign(new EventEmitter(), {
      pid: 1,
      stdio: [null, null, null, socket],
      kill: () => child.end(),
    })
    parent.onEnd(() => child.end())
    child.onEnd(() => {
      this.oracle.note(`${child.name} ended`)
      if (this.signers.get(realm)?.process === child) this.signers.delete(realm)
      this.network.soon(parent, () => handle.emit('exit', 0))
    })
    this.scheduler.after(20, child, () => {
      void this.#serveSigner(child, realm, given('keystore')).catch((error: Error) => {
        if (!child.isAlive) return
        this.oracle.onFailedStart(child.name, error)
        child.end()
      })
    })
    return handle
  }

  async #serveSigner(child: Process, realm: string, keystore: string): Promise<void> {
    const signer = await openSigner({
      keystore,
      folder: dirname(keystore),
      secret: { value: 'a passphrase', stamp: undefined },
      realm,
      trustAnchor: this.trustAnchor as TrustAnchor,
      signaturesPerSecondMax: 20_000,
    })
    this.signers.set(realm, { realm, process: child, signer })
    this.oracle.onSignerStarted(realm)
    await serveSigner(this.oracle.watchSigner(realm, signer), ({ message }) =>
      this.oracle.onFault(child.name, message),
    )
    await signer.stop()
    child.end()
  }

  #log(name: string) {
    const hear =
      (level: string) =>
      (details: { readonly error?: string }, message = ''): void =>
        this.oracle.onLog(name, level, message, details.error)
    const quiet = (): void => {}
    const log = {
      level: 'warn',
      fatal: hear('fatal'),
      error: hear('error'),
      warn: hear('warn'),
      info: quiet,
      debug: quiet,
      trace: quiet,
      silent: quiet,
      child: () => log,
    }
    return log as unknown as Parameters<typeof startBroker>[1]
  }
}

function socketOf(realm: string): string {
  return `/sim/run/broker-${realm}.sock`
}

const everything = {
  read: true,
  write: true,
  append: false,
  create: true,
  exclusive: false,
  truncate: false,
  sync: false,
}
