/**
 * Who acts in a simulated world: who asks for tokens and shows them, operators, a thief, and accidents. Each act is one
 * step; what it needs and cannot have at that moment makes it nothing.
 * @module
 */

import { randomBytes } from 'node:crypto'
import {
  AuthorityError,
  type Command,
  sendApproval,
  sendCommand,
  sendProposal,
} from '@countersign/authority/client'
import {
  APPROVAL_SECONDS_MAX,
  type ApprovalTarget,
  approve,
  writeApproval,
} from '@countersign/validator/approval'
import { encode } from '@countersign/validator/base64url'
import { approveCharter, type CharterDocument } from '@countersign/validator/charter'
import { encodePayload, publicHalf, readPayload } from '@countersign/validator/document'
import { encodeEntry, entryOf } from '@countersign/validator/entry'
import { readCompact, signInput } from '@countersign/validator/jws'
import { createWitnessClient } from '@countersign/witness/client'
import { queryDatabase, snapshotDatabases } from './database.ts'
import type { Disk } from './disk.ts'
import type { HttpAnswer, Interceptor } from './network.ts'
import { type Issued, isBug, type Oracle, type Shown } from './oracle.ts'
import type { Hazard, RealmName } from './plan.ts'
import { Process } from './scheduler.ts'
import {
  AUDIENCE,
  AUTHORITY,
  issuers,
  type Operator,
  type System,
  tenants,
  WITNESS_SOCKET,
} from './system.ts'

/** As far as a clock goes wrong at once. */
const CLOCK_JUMP_MILLISECONDS_MAX = 300_000

/** As long as anything that was sent stays on its way. */
const SETTLED_MILLISECONDS = 60_000

export class Actors {
  readonly #system: System
  readonly #oracle: Oracle
  readonly #office: Process
  readonly #thief: Process
  readonly #tokens: Issued[] = []
  readonly #acts: (readonly [act: () => void, weight: number])[]
  #backup: ReturnType<Disk['copy']> | undefined
  #healedVersion: number | undefined
  #somethings = 0

  constructor(system: System) {
    this.#system = system
    this.#oracle = system.oracle
    this.#office = new Process('operator', system.host('office'), 0)
    this.#thief = new Process('thief', system.host('broker'), 0)
    const { hazards } = system.plan
    const risky: Readonly<Partial<Record<Hazard, readonly [act: () => void, weight: number]>>> = {
      partitions: [() => this.#cut(), 4],
      delays: [() => this.#changeWeather('delayed'), 1],
      losses: [() => this.#changeWeather('lost'), 1],
      duplicates: [() => this.#changeWeather('duplicated'), 1],
      crashes: [() => this.#crash(false), 4],
      'power-cuts': [() => this.#crash(true), 4],
      'deaths-at-writes': [() => this.#dieAtWrite(), 3],
      'clock-jumps': [() => this.#jumpClock(), 2],
      kills: [() => this.#kill(), 3],
      rotations: [() => this.#rotate(), 2],
      cutoffs: [() => this.#cutOff(), 1],
      retirements: [() => this.#retire(), 1],
      'new-epochs': [() => this.#seal(), 1],
      replays: [() => this.#replay(), 5],
      forgeries: [() => this.#forge(), 6],
      'old-backups': [() => this.#backUpOrRestore(), 1],
      charters: [() => this.#amend(), 1],
      lifts: [() => this.#lift(), 3],
      'broken-glass': [() => this.#breakGlass(), 1],
    }
    this.#acts = [
      [() => this.#issue(), 22],
      [() => this.#show(), 22],
      [() => this.#repair(), 4],
      ...[...hazards].flatMap((hazard) => (risky[hazard] === undefined ? [] : [risky[hazard]])),
    ]
    if (hazards.has('skewed-clocks')) {
      for (const host of system.hosts.values())
        this.#setSkew(host.name, system.random.between(-20_000, 20_000))
    }
  }

  act(): void {
    this.#system.random.weighted(this.#acts)()
  }

  /** Everything that can be mended is, and what can go wrong no longer does. */
  heal(): void {
    const { network, hosts, services } = this.#system
    this.#oracle.note('all heals')
    Object.assign(network.weather, { latencyMilliseconds: 1, delayed: 0, lost: 0, duplicated: 0 })
    network.interceptor = undefined
    network.healAll()
    for (const { name } of hosts.values()) this.#setSkew(name, 0)
    for (const service of services) {
      if (service.process !== undefined) service.process.dieAtWrite = undefined
      service.isHeldDown = false
      service.boot()
    }
    for (const { process } of this.#system.signers.values()) process.dieAtWrite = undefined
  }

  /** Whether every realm gets a token, and every validator accepts it. Also does what only a person can. */
  tryAll(): { readonly missing: () => string | undefined } {
    const { plan, validators } = this.#system
    const open = new Set<string>()
    this.#repair()
    if (this.#healedVersion === undefined) {
      this.#publishSomething((version) => {
        this.#healedVersion = version
      })
    }
    for (const realm of plan.realms) {
      open.add(`a token of ${realm}`)
      this.#issue(realm, (issued) => {
        open.delete(`a token of ${realm}`)
        for (const { name } of validators) {
          open.add(`${name} accepts ${realm}`)
          this.#present(name, issued, () => open.delete(`${name} accepts ${realm}`))
        }
      })
    }
    const missing = (): string | undefined => {
      if (this.#healedVersion === undefined) return 'a command that is carried out'
      const newest = this.#oracle.newest?.version ?? 0
      const behind = validators.find(({ running }) => running?.trust.state?.manifest.version !== newest)
      return behind === undefined ? [...open][0] : `${behind.name} at version ${newest}`
    }
    return { missing }
  }

  /** A command that harms nobody. */
  #publishSomething(then?: (version: number) => void): void {
    const [realm] = this.#system.plan.realms
    // A cutoff that moves nothing on publishes nothing.
    const sub = `nobody-${this.#somethings++}`
    this.#command({ op: 'cutoff', realm: realm as string, sub, reason: 'to see it done' }, then)
  }

  #issue(realm: RealmName = this.#system.random.pick(this.#system.plan.realms), then = this.#keep): void {
    const { issuers: services, random } = this.#system
    const service = services.get(realm)
    const { process, running } = service ?? {}
    if (process === undefined || running === undefined) return
    const subject = `user-${random.integer(1, 5)}`
    this.#do(process, async () => {
      const iat = Math.floor(Date.now() / 1000)
      const claims = {
        iss: issuers[realm].replace('{tenantid}', tenants[realm]),
        sub: subject,
        aud: AUDIENCE,
        client_id: 'client-1',
        iat,
        exp: iat + this.#system.plan.tokenSeconds,
        tid: tenants[realm],
      }
      const { token } = await running.issue({ type: 'access', claims })
      then(this.#oracle.onIssued(realm, token))
    })
  }

  readonly #keep = (issued: Issued): void => {
    this.#tokens.push(issued)
    // Soon after it is issued a token is shown to somebody.
    const { validators, random } = this.#system
    this.#present(random.pick(validators).name, issued)
  }

  /** Shows some token, mostly a young one, and often one of a key that has died, to most validators. */
  #show(): void {
    const { random, validators } = this.#system
    const newest = this.#oracle.newest?.version ?? 0
    const dead = random.chance(0.4)
      ? this.#tokens.filter(({ kid }) => this.#oracle.isDeadIn(newest, kid))
      : []
    const tokens = dead.length > 0 ? dead : this.#tokens
    const back = Math.min(tokens.length, random.chance(0.8) ? 6 : 60)
    if (back === 0) return
    const issued = tokens[tokens.length - random.integer(1, back)] as Issued
    for (const { name } of validators) if (random.chance(0.7)) this.#present(name, issued)
  }

  #present(name: string, issued: Issued, onAccepted: () => void = () => {}): void {
    const { scheduler, validators } = this.#system
    const { process, running } = validators.find((each) => each.name === name) ?? {}
    if (process === undefined || running === undefined) return
    scheduler.after(1, process, () => {
      const decision = running.decide(issued.token)
      const version = running.trust.state?.manifest.version ?? 0
      this.#oracle.onDecision(name, version, issued, decision)
      if (decision.accepted) onAccepted()
    })
  }

  #command(command: Command, then: (version: number) => void = () => {}): void {
    const { operators, random } = this.#system
    const { privateKey } = random.pick(operators)
    const { kid } = command
    this.#oracle.onCommand(command.op, kid, command.realm)
    this.#oracle.note(`an operator asks to ${command.op} ${command.realm ?? this.#oracle.nameOf(kid ?? '')}`)
    this.#do(this.#office, async () => {
      const answer = await sendCommand(AUTHORITY, command, { kid: publicHalf(privateKey).kid, privateKey })
      this.#oracle.note(`${command.op} is carried out in version ${answer.version}`)
      this.#oracle.onCommandAnswer(command.op, kid, answer.version)
      then(answer.version)
    })
  }

  #someKey(...states: readonly string[]): string | undefined {
    const kids = [...(this.#oracle.newest?.keys ?? [])].filter(([, { state }]) => states.includes(state))
    return kids.length === 0 ? undefined : this.#system.random.pick(kids)[0]
  }

  #kill(): void {
    const { random } = this.#system
    const kid = this.#someKey('active', 'active', 'published', 'retiring', 'blocked')
    if (kid === undefined) return
    const op = random.pick(['block', 'revoke'] as const)
    this.#command({ op, kid, reason: 'stolen' })
    // Somebody else may have had the same thought.
    if (random.chance(0.3)) this.#command({ op, kid, reason: 'stolen, too' })
  }

  #rotate(): void {
    const { random, plan } = this.#system
    const realm = random.pick(plan.realms)
    this.#command({ op: 'rotate', realm, reason: 'early' })
    if (random.chance(0.3)) this.#command({ op: 'rotate', realm, reason: 'twice' })
  }

  /** After a kill nobody takes over by themselves: a person has to say so. */
  #repair(): void {
    const { newest } = this.#oracle
    if (newest === undefined) return
    for (const realm of this.#system.plan.realms) {
      const states = [...newest.keys.values()].filter((key) => key.realm === realm).map(({ state }) => state)
      if (!states.includes('active') && states.includes('published'))
        this.#command({ op: 'rotate', realm, reason: 'no key' })
    }
  }

  #cutOff(): void {
    this.#command({
      op: 'cutoff',
      realm: this.#system.random.pick(this.#system.plan.realms),
      sub: 'user-1',
      reason: 'account taken',
    })
  }

  #retire(): void {
    const kid = this.#someKey('active', 'published')
    if (kid !== undefined) this.#command({ op: 'retire', kid, reason: 'not needed' })
  }

  /** Begins a new epoch of the log. */
  #seal(): void {
    this.#oracle.note('an operator seals the epoch')
    this.#do(this.#office, async () => {
      const client = createWitnessClient(WITNESS_SOCKET)
      try {
        const { epoch } = await client.status()
        await client.seal(epoch)
        this.#oracle.note(`epoch ${epoch} is sealed`)
      } finally {
        client.close()
      }
    })
  }

  /** Two operators change what a rotation waits for, by a charter that both approve. */
  #amend(): void {
    const { random, operators, charters } = this.#system
    const seconds = this.#system.plan.acknowledgeSeconds + random.pick([0, 5, 10])
    const [first, second] = random.chance(0.5) ? operators : [...operators].reverse()
    this.#oracle.note(`${first?.id} proposes a charter`)
    this.#do(this.#office, async () => {
      const base = (await (await fetch(new URL('charter', AUTHORITY))).json()) as CharterDocument
      const before = readPayload(base.payload) as unknown as {
        version: number
        realms: Record<string, object>
      }
      if (before.version === charters.length + 1) charters.push(base)
      const realms = Object.entries(before.realms)
      const next = {
        ...before,
        version: before.version + 1,
        iat: Math.floor(Date.now() / 1000),
        realms: Object.fromEntries(
          realms.map(([name, realm]) => [name, { ...realm, acknowledge_seconds: seconds }]),
        ),
      }
      const proposed = approveCharter(next, (first as Operator).privateKey)
      const { id } = await sendProposal(AUTHORITY, proposed)
      const approved = approveCharter(proposed, (second as Operator).privateKey)
      this.#oracle.onCharterApproved(next.version)
      await sendApproval(AUTHORITY, id, approved.signatures[1] as CharterDocument['signatures'][number])
      if (next.version === charters.length + 1) charters.push(approved)
      this.#oracle.note(`charter ${next.version} is approved`)
    })
  }

  /** Two operators let a blocked key go. */
  #lift(): void {
    const kid = this.#someKey('blocked')
    const blockedAt = this.#oracle.newest?.keys.get(kid ?? '')?.blockedAt
    if (kid === undefined || blockedAt === undefined) return
    this.#approve({ op: 'lift', kid, blockedAt }, this.#oracle.nameOf(kid))
  }

  /** Two operators let a realm hurry: no key of it waits for caches or silent validators. */
  #breakGlass(): void {
    const { random, plan, world, host } = { ...this.#system, host: this.#system.host('office') }
    const realm = random.pick(plan.realms)
    const now = Math.floor((world.trueTime + host.skewMilliseconds) / 1000)
    this.#oracle.onCommand('break-glass', undefined, realm)
    this.#approve({ op: 'break-glass', realm, until: now + random.pick([30, 300]) }, realm)
  }

  #approve(target: ApprovalTarget, what: string): void {
    const { random, operators } = this.#system
    const [first, second] = (random.chance(0.5) ? operators : [...operators].reverse()) as [
      Operator,
      Operator,
    ]
    this.#oracle.note(`${first.id} proposes to ${target.op} ${what}`)
    this.#do(this.#office, async () => {
      const { payload } = (await (await fetch(new URL('charter', AUTHORITY))).json()) as CharterDocument
      const issuedAt = Math.floor(Date.now() / 1000)
      const proposed = approve(
        writeApproval({
          target,
          reason: 'a mistake',
          proposer: first.id,
          issuedAt,
          expiresAt: issuedAt + APPROVAL_SECONDS_MAX,
          jti: encode(randomBytes(16)),
          charterVersion: Number(readPayload(payload)['version']),
        }),
        first.privateKey,
      )
      const { id } = await sendProposal(AUTHORITY, proposed)
      const [, line] = approve(proposed, second.privateKey).signatures
      const { version } = await sendApproval(AUTHORITY, id, line as CharterDocument['signatures'][number])
      this.#oracle.note(`${target.op} ${what} is carried out in version ${version}`)
      this.#oracle.count(`${target.op} carried out`)
    })
  }

  #cut(): void {
    const { network, random, plan, scheduler, init } = this.#system
    const names = [
      'authority',
      'witness',
      'broker',
      'office',
      ...plan.realms.map((realm) => `issuer-${realm}`),
    ]
    const validators = this.#system.validators.map(({ name }) => name)
    const all = [...names, ...validators]
    // A validator without its authority is what staleness is about.
    const isOrphan = random.chance(0.4)
    const one = random.pick(isOrphan ? validators : all)
    const others = isOrphan ? ['authority'] : random.chance(0.5) ? [random.pick(names)] : all
    const milliseconds = random.exponential(random.pick([2000, 30_000, 150_000]))
    this.#oracle.note(`${one} is cut off from ${others.length > 1 ? 'everybody' : others[0]}`)
    for (const other of others) network.cut(one, other)
    scheduler.after(milliseconds, init, () => {
      this.#oracle.note(`${one} is reached again`)
      for (const other of others) network.heal(one, other)
    })
  }

  #changeWeather(what: 'delayed' | 'lost' | 'duplicated'): void {
    const { network, random } = this.#system
    network.weather[what] = random.chance(0.5) ? 0 : random.between(0.02, 0.4)
    network.weather.latencyMilliseconds = random.pick([0.3, 1, 20, 150])
  }

  #crash(powerCut: boolean): void {
    const { random, services, signers } = this.#system
    if (!powerCut && random.chance(0.25)) {
      const signer = [...signers.values()].at(random.integer(0, 1))
      this.#oracle.note(`${signer?.process.name ?? 'no signer'} is killed`)
      signer?.process.end()
      return
    }
    const service = random.pick(services)
    this.#oracle.note(`${service.name} ${powerCut ? 'loses power' : 'is killed'}`)
    this.#oracle.counts.crashes++
    service.crash(powerCut)
    if (powerCut && service.name === 'witness') this.#oracle.checkReleased()
  }

  /** Lets a process die at one of its next durable writes. */
  #dieAtWrite(): void {
    const { random, signers, service } = { ...this.#system, service: this.#system.service('authority') }
    const targets = [service.process, ...[...signers.values()].map(({ process }) => process)]
    const target = random.pick(targets)
    if (target === undefined) return
    target.dieAtWrite = random.integer(1, target.name === 'authority' ? 60 : 4)
  }

  #jumpClock(): void {
    const { random, hosts, scheduler, init } = this.#system
    const host = random.pick([...hosts.values()].filter(({ name }) => name !== 'wire' && name !== 'etc'))
    const milliseconds = random.between(-CLOCK_JUMP_MILLISECONDS_MAX, CLOCK_JUMP_MILLISECONDS_MAX)
    this.#setSkew(host.name, milliseconds)
    this.#oracle.note(`the clock of ${host.name} jumps by ${Math.round(milliseconds / 1000)} s`)
    // Whoever keeps its time notices sooner or later.
    scheduler.after(random.exponential(30_000), init, () => {
      if (host.skewMilliseconds === milliseconds) this.#setSkew(host.name, 0)
    })
  }

  #setSkew(name: string, milliseconds: number): void {
    this.#system.host(name).skewMilliseconds = milliseconds
    this.#oracle.onSkew(name, milliseconds)
  }

  /** A thief between two hosts, or inside the broker's machine, shows what was true once. */
  #replay(): void {
    const { random, network, scheduler, init, signers } = this.#system
    const old = this.#oldManifest()
    if (old === undefined) return
    if (random.chance(0.4)) {
      const target = [...signers.values()].at(random.integer(0, 1))
      if (target === undefined) return
      this.#oracle.note(`a thief shows ${target.process.name} version ${old.version}`)
      const { freshness: _, ...manifest } = JSON.parse(old.text) as { readonly freshness: string }
      const watched = this.#oracle.watchSigner(target.realm, target.signer)
      this.#do(target.process, () =>
        watched.trust({ charters: this.#system.charters.slice(0, old.charterVersion), manifest }),
      )
      return
    }
    const victim = random.pick(this.#system.validators).name
    this.#oracle.note(`a thief shows ${victim} version ${old.version}`)
    const interceptor: Interceptor = ({ url }, from) => {
      if (from.name !== victim || url.hostname !== 'authority') return undefined
      if (url.pathname !== '/manifest' && url.pathname !== '/stream') return undefined
      // What the authority has said, it has said, whoever brings it.
      this.#oracle.onVouching(from, old.sent)
      if (url.pathname === '/manifest') return answerOf('application/json', old.text)
      return answerOf('text/event-stream', `event: manifest\ndata: ${old.text}\n\n`)
    }
    network.interceptor = interceptor
    scheduler.after(random.exponential(20_000), init, () => {
      if (network.interceptor === interceptor) network.interceptor = undefined
    })
  }

  #oldManifest(): Shown | undefined {
    const all = [...this.#oracle.shown.values()]
    return all.length < 2 ? undefined : this.#system.random.pick(all)
  }

  /** A thief with every signing key makes tokens, or asks the witness to countersign for a dead key. */
  #forge(): void {
    const { random, validators } = this.#system
    const realm = random.pick(this.#system.plan.realms)
    const stolen = this.#stealKeys(realm)
    if (stolen.length === 0) return
    const { kid, privateKey } = random.pick(stolen)
    const real = this.#tokens.at(-1)
    const forged = random.pick(['no receipt', 'the receipt of another token', 'an entry of its own'])
    this.#do(this.#thief, async () => {
      const iat = Math.floor(Date.now() / 1000)
      const claims = {
        iss: issuers[realm].replace('{tenantid}', tenants[realm]),
        sub: 'user-1',
        aud: AUDIENCE,
        client_id: 'client-1',
        iat,
        exp: iat + this.#system.plan.tokenSeconds,
        jti: 'made-by-a-thief-0000000001',
        tid: tenants[realm],
      }
      const payload = encodePayload(claims)
      let rcpt: string | undefined
      if (forged === 'the receipt of another token') rcpt = real && readCompact(real.token).header.rcpt
      if (forged === 'an entry of its own') rcpt = await this.#askWitness(kid, payload, iat)
      const header = encodePayload({ alg: 'ES256', typ: 'at+jwt', kid, ...(rcpt && { rcpt }) })
      const token = `${header}.${payload}.${encode(signInput('ES256', privateKey, `${header}.${payload}`))}`
      this.#oracle.note(`a thief makes a token of ${this.#oracle.nameOf(kid)} with ${forged}`)
      for (const { name } of validators) this.#present(name, { token, kid, realm, forged })
    })
  }

  /** Only for a key that the witness knows dead: for a live one it would countersign, and the log would show it. */
  async #askWitness(kid: string, payloadSegment: string, issuedAt: number): Promise<string | undefined> {
    const known = this.#oracle.acknowledgedBy('witness')
    if (!this.#oracle.isDeadIn(known, kid)) return undefined
    const expiresAt = issuedAt + this.#system.plan.tokenSeconds
    const serial = 2 ** 40
    const entry = entryOf({ tokenType: 'access', kid, issuedAt, expiresAt, serial, payloadSegment })
    const client = createWitnessClient(WITNESS_SOCKET)
    try {
      const [appended] = await client.append([encodeEntry(entry)])
      if (appended === undefined || 'error' in appended) return undefined
      // Two people may have let it go meanwhile; then the thief has what the log shows.
      if (!this.#oracle.isDeadSince(known, kid)) return undefined
      this.#oracle.break(
        'dead-key-logged',
        `the witness logged ${this.#oracle.nameOf(kid)}, dead in ${known}`,
      )
    } finally {
      client.close()
    }
  }

  /** What somebody gets who reads the keystore. */
  #stealKeys(realm: string) {
    const file = this.#system.host('broker').disk.file(`/sim/broker/${realm}/keystore.age`)
    const text = file?.read().toString() ?? ''
    const { keys } = JSON.parse(text.slice(text.indexOf('\n') + 1) || '{"keys":[]}') as {
      readonly keys: readonly { readonly jwk: { readonly kid: string } }[]
    }
    return keys.map(({ jwk }) => ({ kid: jwk.kid, privateKey: this.#system.world.keys.read(jwk as never) }))
  }

  /** Somebody puts a copy of the authority's folder back that was made a while ago. */
  #backUpOrRestore(): void {
    const { random, scheduler, init } = this.#system
    const authority = this.#system.service('authority')
    const { disk } = authority.host
    if (authority.isHeldDown) return
    if (this.#backup === undefined || random.chance(0.5)) {
      snapshotDatabases()
      this.#backup = disk.copy()
      this.#oracle.note('the folder of the authority is copied')
      return
    }
    this.#oracle.note('the authority is put back to an old copy')
    authority.isHeldDown = true
    authority.crash(false)
    const newest = disk.copy()
    disk.restore(this.#backup)
    authority.boot()
    scheduler.after(random.between(2000, 60_000), init, () => {
      authority.isHeldDown = true
      authority.crash(false)
      // By then nothing is on its way to the witness any more.
      scheduler.after(SETTLED_MILLISECONDS, init, () => {
        authority.crash(false)
        const copy = disk.copy()
        disk.restore(newest)
        // Else the copy was not old at all, and has been gone on from.
        const isNewest = knows(disk, this.#oracle.newestLogged())
        if (!isNewest) disk.restore(copy)
        this.#oracle.note(`the authority has ${isNewest ? 'its newest folder again' : 'the copy for good'}`)
        authority.isHeldDown = false
        authority.boot()
      })
    })
  }

  /** Lets a process do something that may fail in every way that it is made for. */
  #do(process: Process, act: () => Promise<unknown>): void {
    this.#system.scheduler.after(0, process, () => {
      act().catch((error: Error & { readonly code?: string }) => {
        if (!process.isAlive) return
        if (error.name === 'Violation' || isBug(error)) {
          if (error.name !== 'Violation') this.#oracle.onFault(process.name, error.stack ?? error.message)
          return
        }
        const code = error instanceof AuthorityError ? error.code : (error.code ?? error.message)
        this.#oracle.count(`${process.name}: ${code}`)
        this.#oracle.note(`${process.name} gets ${code}`)
      })
    })
  }
}

/** Whether the authority's folder has that manifest, published or not yet. */
function knows(
  disk: Disk,
  logged: { readonly version: number; readonly sha256: string } | undefined,
): boolean {
  const content = disk.file('/sim/authority/data/authority.db')?.read()
  if (logged === undefined) return true
  if (content === undefined || content.length === 0) return false
  const sql = `SELECT sha256 FROM manifests WHERE version = ${logged.version}`
  return queryDatabase(content, sql)?.['sha256'] === logged.sha256
}

function answerOf(type: string, body: string): HttpAnswer {
  return { status: 200, headers: { 'content-type': type }, body }
}
