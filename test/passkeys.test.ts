/**
 * Goal: an operator approves with a passkey exactly what a page showed them, and every validator takes it for that.
 * Method: Chromium with a virtual authenticator, at a whole authority whose witness and broker are those of its tests;
 * then the authority, the proposal, the device and the clock each do what they should not. Whatever page, script error
 * or breach of the content policy comes up on the way fails the test.
 */

import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { after, before, type TestContext, test } from 'node:test'
import { approve, writeApproval } from '@countersign/validator/approval'
import { approveCharter, CHARTER_TYPE, type Charter } from '@countersign/validator/charter'
import {
  type DocumentSignature,
  encodePayload,
  readPayload,
  type SignedDocument,
  verifyDocument,
} from '@countersign/validator/document'
import { followManifest } from '@countersign/validator/follow'
import type { JsonObject } from '@countersign/validator/json'
import { createTestKey, type TestKey } from '@countersign/validator/testing'
import { type Browser, type CDPSession, chromium, type Page } from 'playwright-core'
import { startTestAuthority, type TestAuthority } from '../authority/src/testing.ts'
import { describe } from '../cli/src/proposal.ts'
import { CONTRAST_MIN, contrast } from './contrast.ts'

const CHROMIUM = '/usr/bin/chromium'
const skip = existsSync(CHROMIUM)
  ? false
  : `there is no ${CHROMIUM}; tools/debian.sh installs it where it may`

let browser: Browser
before(async () => {
  // Chromium's own sandbox does not start as root, and what is shown here is ours.
  if (skip === false) browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] })
})
after(() => browser?.close())

interface Entry {
  readonly id: string
  readonly jwk: JsonObject
  readonly webauthn: { readonly rp_id: string; readonly origins: readonly string[] }
}

/** An authority, and somebody in front of a browser with a device that can hold passkeys. */
interface Stage {
  readonly authority: TestAuthority
  readonly origin: string
  readonly page: Page
  /** By key file. */
  readonly olga: TestKey
  readonly omar: TestKey
  setVerified(isUserVerified: boolean): Promise<void>
  /** The passkeys on the device. */
  credentials(): ReturnType<typeof readCredentials>
  /** Makes a passkey on the page for it. */
  makePasskey(id: string): Promise<Entry>
  /** The payload of the next charter. */
  next(change: (payload: CharterPayload) => object): Promise<object>
  /** Proposes by olga's key file. */
  propose(document: SignedDocument): Promise<string>
  /** Makes the next charter by the key files of olga and omar. */
  amend(change: (payload: CharterPayload) => object): Promise<number>
  /** Opens the page of a proposal and waits until it can be approved there. */
  openProposal(id: string): Promise<void>
  outcome(): Promise<string>
  approvedBy(id: string): Promise<unknown>
}

/** A charter's payload as it stands there. */
type CharterPayload = Readonly<Record<string, unknown>> & { readonly operators: readonly Entry[] }

async function setStage(t: TestContext): Promise<Stage> {
  const authority = await startTestAuthority(t)
  const origin = authority.url.replace('127.0.0.1', 'localhost')
  const context = await browser.newContext()
  const problems: string[] = []
  t.after(async () => {
    await context.close()
    assert.deepEqual(problems, [], 'script errors and breaches of policy')
  })
  await context.addInitScript(() => {
    const told = (event: { violatedDirective?: string }) =>
      console.error(`policy: ${event.violatedDirective}`)
    ;(globalThis as unknown as EventTarget).addEventListener('securitypolicyviolation', told as () => void)
  })
  const page = await context.newPage()
  page.on('pageerror', (error) => problems.push(error.message))
  page.on('console', (message) => {
    // A refusal that the page is told of also stands in the console.
    const isRefusal = message.text().startsWith('Failed to load resource')
    if (message.type() === 'error' && !isRefusal) problems.push(message.text())
  })
  const device = await context.newCDPSession(page)
  const authenticatorId = await addAuthenticator(device)
  const [olga, omar] = authority.world.operators as readonly TestKey[]
  assert.ok(olga && omar)
  const json = { 'content-type': 'application/json' }

  const stage: Stage = {
    authority,
    origin,
    page,
    olga,
    omar,
    setVerified: async (isUserVerified) => {
      await device.send('WebAuthn.setUserVerified', { authenticatorId, isUserVerified })
    },
    credentials: () => readCredentials(device, authenticatorId),
    makePasskey: async (id) => {
      await page.goto(`${origin}/passkey`)
      await page.getByLabel('Your name as an operator').fill(id)
      await page.getByRole('button', { name: 'Make a passkey' }).click()
      await page.getByText('The passkey is made').waitFor()
      return JSON.parse((await page.locator('#entry').textContent()) ?? '')
    },
    next: async (change) => {
      const { payload } = (await authority.get('charter')).body as unknown as SignedDocument
      const newest = readPayload(payload) as unknown as CharterPayload
      return change({ ...newest, version: Number(newest['version']) + 1, iat: authority.world.now })
    },
    propose: async (document) => {
      const { status, body } = await authority.post('proposals', JSON.stringify(document), json)
      assert.equal(status, 200, JSON.stringify(body))
      return String(body['id'])
    },
    amend: async (change) => {
      const document = approveCharter(await stage.next(change), olga.privateKey)
      const id = await stage.propose(document)
      const { body } = await authority.post(`proposals/${id}/approvals`, lineOf(document, omar), json)
      assert.equal(typeof body['version'], 'number', JSON.stringify(body))
      return Number(body['version'])
    },
    openProposal: async (id) => {
      await page.goto(`${origin}/approve/${id}`)
      await page.getByRole('button', { name: 'Approve with passkey' }).waitFor()
    },
    outcome: async () => {
      await page.locator('#outcome .notice').waitFor()
      return (await page.locator('#outcome').textContent()) ?? ''
    },
    approvedBy: async (id) => (await authority.get(`proposals/${id}`)).body['approved_by'],
  }
  return stage
}

/** A device like a phone or laptop: it holds passkeys and knows its owner. */
async function addAuthenticator(device: CDPSession): Promise<string> {
  await device.send('WebAuthn.enable')
  const { authenticatorId } = await device.send('WebAuthn.addVirtualAuthenticator', {
    options: {
      protocol: 'ctap2',
      transport: 'internal',
      hasResidentKey: true,
      hasUserVerification: true,
      isUserVerified: true,
      automaticPresenceSimulation: true,
    },
  })
  return authenticatorId
}

async function readCredentials(device: CDPSession, authenticatorId: string) {
  return (await device.send('WebAuthn.getCredentials', { authenticatorId })).credentials
}

/** What an operator with a key file sends to approve. */
function lineOf({ payload }: SignedDocument, { privateKey }: TestKey): string {
  return JSON.stringify(approveCharter({ payload, signatures: [] }, privateKey).signatures[0])
}

function withOperator(entry: Entry) {
  return (charter: CharterPayload): object => ({ ...charter, operators: [...charter.operators, entry] })
}

function withLifetime(seconds: number) {
  return (charter: CharterPayload): object => {
    const realms = charter['realms'] as Readonly<Record<string, JsonObject>>
    const consumer = { ...realms['consumer'], max_ttl: seconds, overlap_seconds: seconds + 60 }
    return { ...charter, realms: { ...realms, consumer } }
  }
}

test('A1 K11: an operator makes a passkey, is let into the charter, and approves the next with it; every validator follows', {
  skip,
}, async (t) => {
  const { authority, page, olga, omar, ...stage } = await setStage(t)
  const { trustAnchor } = authority.world
  const validators = await Promise.all(
    ['mail', 'gateway', 'archive'].map(async (name) => {
      const enrolment = { name, privateKey: (await authority.enrol(name)).privateKey }
      return followManifest({
        authority: authority.url,
        trustAnchor,
        enrolment,
        now: () => authority.world.now,
      })
    }),
  )
  t.after(() => Promise.all(validators.map((validator) => validator.stop())))

  const entry = await stage.makePasskey('paula')
  assert.deepEqual(entry.webauthn, { rp_id: 'localhost', origins: [stage.origin] })
  assert.deepEqual(Object.keys(entry.jwk).sort(), ['crv', 'kty', 'x', 'y'])
  await stage.amend((charter) => ({ ...withOperator(entry)(charter), threshold: 3 }))

  // Three now have to approve: one by passkey between two by key file.
  const document = approveCharter(await stage.next(withLifetime(7200)), olga.privateKey)
  const id = await stage.propose(document)
  await page.goto(`${stage.origin}/approve`)
  await page.getByRole('link', { name: 'Charter 3' }).click()
  await page.locator('.before', { hasText: '3600 s (1 h)' }).waitFor()
  await page.locator('.after', { hasText: '7200 s (2 h)' }).waitFor()
  const groups = ((await page.locator('#groups').textContent()) ?? '').trim()
  const { charter: inForce, manifest: keys } = authority.running.publisher.newest ?? assert.fail()
  const documents = [(await authority.get('charter')).body as unknown as SignedDocument]
  assert.ok(
    describe(document.payload, { charter: inForce, manifest: keys, documents }).includes(
      `hash of the document: ${groups}`,
    ),
    'who approves with a key file sees the same hash',
  )
  await page.getByRole('button', { name: 'Approve with passkey' }).click()
  assert.match(await stage.outcome(), /^Approved: 2 of 3\.One more person has to approve/)

  const last = await authority.post(`proposals/${id}/approvals`, lineOf(document, omar))
  assert.deepEqual(last.body['approved_by'], ['olga', 'paula', 'omar'])
  const version = Number(last.body['version'])
  await page.getByText('Approved, and carried out.').waitFor()

  for (const validator of validators) {
    await validator.waitForVersion(version, 10_000)
    const { charter, manifest } = validator.state ?? assert.fail('no state')
    assert.equal(charter.version, 3)
    assert.equal(charter.realms.get('consumer')?.lifetimeSecondsMax, 7200)
    assert.ok(manifest.version >= version)
    const hex = Buffer.from((charter as Charter).sha256, 'base64url').toString('hex')
    assert.equal(groups.replaceAll(/\s/g, ''), hex, 'what two people compare is what the manifest names')
  }
  await authority.allAcknowledged()
})

test('A1 A3 K11: a passkey approves what widens trust beside a charter, and is told what it is', {
  skip,
}, async (t) => {
  const { authority, page, olga, ...stage } = await setStage(t)
  await stage.amend(withOperator(await stage.makePasskey('paula')))
  const { now } = authority.world
  const approval = {
    target: { op: 'break-glass', realm: 'consumer', until: now + 600 },
    reason: 'caches of a receiver are stuck',
    proposer: 'olga',
    issuedAt: now,
    expiresAt: now + 300,
    jti: 'a'.repeat(22),
    charterVersion: 2,
  } as const
  const id = await stage.propose(approve(writeApproval(approval), olga.privateKey))
  await stage.openProposal(id)
  await page.getByRole('heading', { name: 'Break the glass' }).waitFor()
  const shown = (await page.locator('main').textContent()) ?? ''
  assert.match(shown, /An alarm sounds that nobody can silence/)
  assert.match(shown, /caches of a receiver are stuck/)
  await page.getByRole('button', { name: 'Approve with passkey' }).click()
  assert.match(await stage.outcome(), /^Approved, and carried out as manifest 3\./)
  assert.equal(authority.manifest.breakGlass.length, 1)
})

test('A1 T241: who is not verified approves nothing: the device says no, and the authority when the page did not ask', {
  skip,
}, async (t) => {
  const { page, olga, ...stage } = await setStage(t)
  await stage.amend(withOperator(await stage.makePasskey('paula')))
  const id = await stage.propose(approveCharter(await stage.next(withLifetime(60)), olga.privateKey))
  await stage.setVerified(false)
  await stage.openProposal(id)
  await page.getByRole('button', { name: 'Approve with passkey' }).click()
  assert.match(await stage.outcome(), /^No passkey answered\./)

  // A page that somebody has changed.
  await stage.openProposal(id)
  await page.evaluate(() => {
    const { credentials } = navigator as unknown as {
      credentials: { get(options: { publicKey: object }): Promise<unknown> }
    }
    const get = credentials.get.bind(credentials)
    credentials.get = ({ publicKey }) => get({ publicKey: { ...publicKey, userVerification: 'discouraged' } })
  })
  await page.getByRole('button', { name: 'Approve with passkey' }).click()
  assert.match(await stage.outcome(), /^The authority refused the signature\..*unverified/)
  assert.deepEqual(await stage.approvedBy(id), ['olga'])

  await stage.setVerified(true)
  await stage.openProposal(id)
  await page.getByRole('button', { name: 'Approve with passkey' }).click()
  assert.match(await stage.outcome(), /carried out as manifest/)
})

test('T228 T229: a proposal that is altered between show and approve is not signed: the page signs what it showed', {
  skip,
}, async (t) => {
  const { authority, page, olga, ...stage } = await setStage(t)
  const entry = await stage.makePasskey('paula')
  await stage.amend(withOperator(entry))
  const shown = approveCharter(await stage.next(withLifetime(1800)), olga.privateKey)
  const id = await stage.propose(shown)
  await stage.openProposal(id)

  const altered = encodePayload(
    await stage.next((charter) => ({ ...withLifetime(1800)(charter), threshold: 1 })),
  )
  let sent = ''
  await page.route('**/proposals/**', async (route) => {
    if (route.request().method() === 'POST') {
      sent = route.request().postData() ?? ''
      return route.fulfill({ json: { approved_by: ['olga'], needed: 2 } })
    }
    const response = await route.fetch()
    return route.fulfill({ response, json: { ...(await response.json()), segment: altered } })
  })
  await page.getByRole('button', { name: 'Approve with passkey' }).click()
  await stage.outcome()
  const line = JSON.parse(sent) as DocumentSignature
  const signers = authority.running.publisher.newest?.charter.operators ?? []
  assert.doesNotThrow(() =>
    verifyDocument({ payload: shown.payload, signatures: [line] }, CHARTER_TYPE, signers, 1),
  )
  assert.throws(() => verifyDocument({ payload: altered, signatures: [line] }, CHARTER_TYPE, signers, 1), {
    flaw: 'signature_invalid',
  })
  await page.getByText('The authority has another document here than this address names.').waitFor()
  assert.equal(await page.getByRole('button', { name: 'Approve with passkey' }).count(), 0)
})

test('T229: an address names a content: another document under it is not even shown', { skip }, async (t) => {
  const { page, olga, ...stage } = await setStage(t)
  await stage.amend(withOperator(await stage.makePasskey('paula')))
  const id = await stage.propose(approveCharter(await stage.next(withLifetime(1800)), olga.privateKey))
  const other = encodePayload(await stage.next(withLifetime(86_400)))
  await page.route('**/proposals/**', async (route) => {
    const response = await route.fetch()
    return route.fulfill({ response, json: { ...(await response.json()), segment: other } })
  })
  await page.goto(`${stage.origin}/approve/${id}`)
  await page.getByText('The authority has another document here than this address names.').waitFor()
  assert.equal(await page.getByRole('button').count(), 0)
})

test('T229: what the authority says about a document is not what is shown of it', { skip }, async (t) => {
  const { page, olga, ...stage } = await setStage(t)
  await stage.amend(withOperator(await stage.makePasskey('paula')))
  const id = await stage.propose(approveCharter(await stage.next(withLifetime(86_400)), olga.privateKey))
  await page.route('**/proposals/**', async (route) => {
    const response = await route.fetch()
    const { payload, ...rest } = await response.json()
    const lie = { ...rest, payload: { ...payload, realms: {} }, base: payload, changes: ['nothing changes'] }
    return route.fulfill({ response, json: lie })
  })
  await stage.openProposal(id)
  await page.locator('.after', { hasText: '86400 s (1 d)' }).waitFor()
})

test('K11: a proposal that expires while it is open, or before it is opened, can no longer be approved, in words', {
  skip,
}, async (t) => {
  const { authority, page, olga, ...stage } = await setStage(t)
  await stage.amend(withOperator(await stage.makePasskey('paula')))
  const id = await stage.propose(approveCharter(await stage.next(withLifetime(1800)), olga.privateKey))
  await page.clock.install()
  await stage.openProposal(id)
  assert.match((await page.getByRole('timer').textContent()) ?? '', /^1[45]:\d\d$/)
  await page.clock.fastForward('14:30')
  assert.match((await page.getByRole('timer').textContent()) ?? '', /^0:[0-5]\d$/)
  await page.clock.fastForward('00:31')
  assert.equal(
    await stage.outcome(),
    'This proposal has expired.Nobody can approve it any more. Propose it anew.',
  )
  assert.equal(await page.getByRole('button', { name: 'Approve with passkey' }).count(), 0)

  // The authority's clock decides, whatever the browser's says.
  await page.clock.setSystemTime(authority.world.now * 1000)
  await stage.openProposal(id)
  authority.world.now += 900
  await page.getByRole('button', { name: 'Approve with passkey' }).click()
  assert.match(await stage.outcome(), /^This proposal has expired\./)
  await page.goto(`${stage.origin}/approve/${id}`)
  assert.match(await stage.outcome(), /^This proposal has expired\./)
  assert.deepEqual(await stage.approvedBy(id), ['olga'])
})

test('T241: a passkey of somebody else, one for another address, and an approval given twice are told apart', {
  skip,
}, async (t) => {
  const { authority, page, olga, ...stage } = await setStage(t)
  const peter = await stage.makePasskey('peter')
  const { webauthn } = peter
  const paula = { id: 'paula', jwk: createTestKey('ES256').jwk as unknown as JsonObject, webauthn }
  await stage.amend((charter) => ({
    ...charter,
    operators: [...charter.operators, paula, peter],
    threshold: 3,
  }))
  const id = await stage.propose(approveCharter(await stage.next(withLifetime(1800)), olga.privateKey))
  await stage.openProposal(id)
  await page.getByLabel('You are').selectOption('paula')
  await page.getByRole('button', { name: 'Approve with passkey' }).click()
  assert.match(await stage.outcome(), /^The passkey that answered is that of peter\./)

  // In two windows at once, with the same passkey: the second comes too late.
  const second = await page.context().newPage()
  const device = await page.context().newCDPSession(second)
  const authenticatorId = await addAuthenticator(device)
  for (const credential of await stage.credentials()) {
    await device.send('WebAuthn.addCredential', { authenticatorId, credential })
  }
  await second.goto(`${stage.origin}/approve/${id}`)
  for (const window of [second, page]) await window.getByLabel('You are').selectOption('peter')
  await page.getByRole('button', { name: 'Approve with passkey' }).click()
  await page.getByText('Approved: 2 of 3.').waitFor()
  await second.getByRole('button', { name: 'Approve with passkey' }).click()
  await second.getByText('You have approved this before.').waitFor()
  assert.deepEqual(await stage.approvedBy(id), ['olga', 'peter'])

  // Passkeys are made for a name: at an address in digits the page says where to go.
  await page.goto(`${authority.url}/approve/${id}`)
  const link = page.getByRole('link', { name: stage.origin })
  assert.equal(await link.getAttribute('href'), `${stage.origin}/approve/${id}`)
  await page.goto(`${authority.url}/passkey`)
  assert.equal(
    await page.getByRole('link', { name: /^Open/ }).getAttribute('href'),
    `${stage.origin}/passkey`,
  )
})

test('the pages can be read by day and by night, on a phone and on a desk, and each control has a name', {
  skip,
}, async (t) => {
  const { page, olga, ...stage } = await setStage(t)
  await stage.amend(withOperator(await stage.makePasskey('paula')))
  const change = (charter: CharterPayload): object => ({ ...withLifetime(1800)(charter), block_keys: [] })
  const id = await stage.propose(approveCharter(await stage.next(change), olga.privateKey))
  for (const path of ['passkey', 'approve', `approve/${id}`, 'approve/unknown']) {
    await page.goto(`${stage.origin}/${path}`)
    await page.locator('main :is(form, .link, .notice)').first().waitFor()
    await page.evaluate(openAll)
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme })
      for (const width of [320, 390, 1280]) {
        await page.setViewportSize({ width, height: 900 })
        const { texts, nameless, overflow } = await page.evaluate(readPage)
        assert.ok(texts.length > 5)
        assert.equal(overflow, 0, `${path} is wider than ${width} pixels`)
        assert.deepEqual(nameless, [], path)
        for (const { text, ink, ground } of texts) {
          const ratio = contrast(ink, ground)
          assert.ok(
            ratio >= CONTRAST_MIN,
            `${path}, ${colorScheme}: "${text}" has a contrast of ${ratio.toFixed(1)}`,
          )
        }
      }
    }
  }
})

interface Shape {
  readonly tagName: string
  readonly parentElement: Shape | null
  readonly childNodes: Iterable<{ readonly nodeType: number; readonly textContent: string | null }>
  readonly labels?: { readonly length: number } | null
  readonly textContent: string | null
  readonly scrollWidth: number
  readonly clientWidth: number
  checkVisibility(): boolean
  matches(selector: string): boolean
  setAttribute(name: string, value: string): void
}

/** What of a browser's page is used here. */
declare const document: {
  readonly documentElement: Shape
  querySelectorAll(selector: string): Iterable<Shape>
}
declare const getComputedStyle: (shape: Shape) => { readonly color: string; readonly backgroundColor: string }

/** Runs in the page. */
function openAll(): void {
  for (const details of document.querySelectorAll('details')) details.setAttribute('open', '')
}

/** Runs in the page. */
function readPage() {
  const groundOf = (shape: Shape | null): string => {
    if (shape === null) return 'rgb(255, 255, 255)'
    const { backgroundColor } = getComputedStyle(shape)
    return backgroundColor === 'rgba(0, 0, 0, 0)' ? groundOf(shape.parentElement) : backgroundColor
  }
  const texts = [...document.querySelectorAll('body *')]
    .filter((shape) => shape.checkVisibility() && !shape.matches('noscript, .spoken'))
    .filter(({ childNodes }) =>
      [...childNodes].some((node) => node.nodeType === 3 && node.textContent?.trim()),
    )
    .map((shape) => ({
      text: (shape.textContent ?? '').trim().slice(0, 40),
      ink: getComputedStyle(shape).color,
      ground: groundOf(shape),
    }))
  const nameless = [...document.querySelectorAll('input, select, button, a')]
    .filter(({ labels, textContent }) => !labels?.length && !textContent?.trim())
    .map(({ tagName }) => tagName)
  const { scrollWidth, clientWidth } = document.documentElement
  return { texts, nameless, overflow: scrollWidth - clientWidth }
}
