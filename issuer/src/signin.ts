/**
 * Signing in and giving consent: the steps between an authorization request and its answer. oidc-provider knows which
 * step is due (its interaction); here the pages for it are shown and what they send back is checked.
 *
 * A form counts only with the interaction's own cookie, which is signed, bound to the path, and not sent along from
 * other sites; and only from our own origin (T179, T199).
 * @module
 */

import { errors, type Provider } from 'oidc-provider'
import type { Attempts } from './attempts.ts'
import { readForm } from './form.ts'
import type { Context, Middleware } from './middleware.ts'
import { networkOf } from './network.ts'
import { consentPage, pageHeaders, type Scene, secondFactorPage, signInPage } from './pages.ts'
import { Busy } from './password.ts'
import { foldUsername, type People, type Person } from './people.ts'

export interface SignInOptions {
  readonly provider: Provider
  readonly people: People
  readonly scene: Scene
  /** In this realm nobody comes in with a password alone. */
  readonly secondFactorRequired: boolean
  /** See `networkOf`. */
  readonly addressHeader: string | undefined
  /** Guesses at passwords. */
  readonly passwords: Attempts
  /** Guesses at codes. Whoever makes them has the password, so they are counted per person alone. */
  readonly codes: Attempts
  /** Seconds since the epoch. */
  readonly now: () => number
}

/** Authentication contexts: what a client can ask for and read in `acr`. */
export const authenticationContexts = {
  password: 'urn:countersign:acr:password',
  secondFactor: 'urn:countersign:acr:second-factor',
} as const

/** Between the password and the code. */
const SECOND_FACTOR_SECONDS_MAX = 300

type Interaction = Awaited<ReturnType<Provider['interactionDetails']>>

export function createSignIn(options: SignInOptions): Middleware {
  const { provider, people, scene, secondFactorRequired, passwords, codes, now } = options
  const { origin, pathname } = new URL(provider.issuer)
  const mount = pathname.replace(/\/$/, '')
  const path = /^\/interaction\/([\w-]{1,64})(?:\/(password|code|consent))?$/

  return async (ctx, next) => {
    const [, uid, step] = path.exec(ctx.path) ?? []
    if (uid === undefined) return next()
    const interaction = await provider.interactionDetails(ctx.req, ctx.res)
    if (interaction.uid !== uid) throw new errors.SessionNotFound('the cookie belongs to another sign-in')
    if (step === undefined && ctx.method === 'GET') return show(ctx, interaction)
    if (step === undefined || ctx.method !== 'POST') return next()
    checkOrigin(ctx, origin)
    const form = await readForm(ctx.req)
    switch (step) {
      case 'password':
        return takePassword(ctx, interaction, form)
      case 'code':
        return takeCode(ctx, interaction, form)
      default:
        return takeConsent(ctx, interaction, form)
    }
  }

  async function show(
    ctx: Context,
    interaction: Interaction,
    alarm?: string,
    username?: string,
  ): Promise<void> {
    const client = await clientName(interaction)
    const asked = (step: string) => ({
      action: `${mount}/interaction/${interaction.uid}/${step}`,
      client,
      alarm,
    })
    ctx.set(pageHeaders([new URL(String(interaction.params['redirect_uri'])).origin]))
    ctx.type = 'html'
    if (interaction.prompt.name === 'consent') {
      const person = await people.find(interaction.session?.accountId ?? '')
      const scopes = (await scopesAfter(interaction)).map(describeScope)
      ctx.body = consentPage(scene, { ...asked('consent'), username: person?.username ?? '', scopes })
    } else if ((await passedPassword(interaction)) !== undefined) {
      ctx.body = secondFactorPage(scene, asked('code'))
    } else {
      ctx.body = signInPage(scene, { ...asked('password'), ...(username !== undefined && { username }) })
    }
  }

  async function takePassword(ctx: Context, interaction: Interaction, form: ReadonlyMap<string, string>) {
    if (interaction.prompt.name !== 'login') throw new errors.InvalidRequest('no password is due')
    const username = form.get('username') ?? ''
    const address = networkOf(ctx.req, options.addressHeader)
    // People of two tenants share names, and must not share limits.
    const account = `${provider.issuer} ${foldUsername(username)}`
    const waitSeconds = passwords.take(account, address)
    if (waitSeconds > 0) return tooMany(ctx, interaction, waitSeconds, username)
    const person = await people.signIn(username, form.get('password') ?? '').catch((error: unknown) => {
      if (error instanceof Busy) return 'busy' as const
      throw error
    })
    if (person === 'busy')
      return refuse(ctx, 503, interaction, 'We are busy. Try again in a minute.', username)
    if (person === undefined) {
      return refuse(ctx, 401, interaction, 'Username and password do not match.', username)
    }
    passwords.succeeded(account, address)
    if (!secondFactorRequired && !person.hasTotp) return signedIn(ctx, person, ['pwd'])
    if (!person.hasTotp) {
      return refuse(
        ctx,
        403,
        interaction,
        'This account needs a second factor, which an administrator sets up.',
      )
    }
    interaction.result = { passedPassword: { sub: person.sub, at: now() } }
    await interaction.persist()
    ctx.status = 303
    ctx.redirect(`${mount}/interaction/${interaction.uid}`)
  }

  async function takeCode(ctx: Context, interaction: Interaction, form: ReadonlyMap<string, string>) {
    const person = await passedPassword(interaction)
    if (person === undefined) return refuse(ctx, 401, interaction, 'That took too long. Sign in again.')
    const { sub } = person
    const waitSeconds = codes.take(sub, sub)
    if (waitSeconds > 0) return tooMany(ctx, interaction, waitSeconds)
    const right = await people.useTotp(sub, (form.get('code') ?? '').replaceAll(' ', ''))
    if (!right)
      return refuse(
        ctx,
        401,
        interaction,
        'That code is not right, or was used before. Wait for the next one.',
      )
    codes.succeeded(sub, sub)
    return signedIn(ctx, person, ['pwd', 'otp', 'mfa'])
  }

  /** What the client will have of what it asks for, allowed before or now: a page that is shown again shows no less. */
  async function scopesAfter(interaction: Interaction): Promise<readonly string[]> {
    const { missingOIDCScope, missingResourceScopes } = missing(interaction)
    const { grantId, params } = interaction
    const grant = grantId === undefined ? undefined : await provider.Grant.find(grantId)
    const asked = new Set(split(String(params['scope'] ?? '')))
    const scopes = new Set([...split(grant?.getOIDCScopeFiltered(asked) ?? ''), ...missingOIDCScope])
    for (const audience of Object.keys(grant?.resources ?? {}))
      for (const scope of placed(split(grant?.getResourceScopeFiltered(audience, asked) ?? ''), audience))
        scopes.add(scope)
    for (const [audience, missed] of Object.entries(missingResourceScopes))
      for (const scope of placed(missed, audience)) scopes.add(scope)
    return [...scopes]
  }

  async function takeConsent(ctx: Context, interaction: Interaction, form: ReadonlyMap<string, string>) {
    const { prompt, params, session, grantId } = interaction
    if (prompt.name !== 'consent' || session === undefined)
      throw new errors.InvalidRequest('no consent is due')
    if (form.get('answer') !== 'allow') {
      return finish(ctx, { error: 'access_denied', error_description: 'the person did not allow it' })
    }
    const known = grantId === undefined ? undefined : await provider.Grant.find(grantId)
    const grant =
      known ?? new provider.Grant({ accountId: session.accountId, clientId: String(params['client_id']) })
    // Exactly what the page showed.
    const { missingOIDCScope, missingResourceScopes } = missing(interaction)
    grant.addOIDCScope([...missingOIDCScope].join(' '))
    for (const [audience, scopes] of Object.entries(missingResourceScopes)) {
      grant.addResourceScope(audience, [...scopes].join(' '))
    }
    return finish(ctx, { consent: { grantId: await grant.save() } }, { merge: true })
  }

  function signedIn(ctx: Context, person: Person, amr: string[]): Promise<void> {
    const acr = authenticationContexts[amr.includes('mfa') ? 'secondFactor' : 'password']
    return finish(ctx, { login: { accountId: person.sub, amr, acr, ts: now() } })
  }

  async function finish(ctx: Context, result: object, { merge } = { merge: false }): Promise<void> {
    const returnTo = await provider.interactionResult(
      ctx.req,
      ctx.res,
      { ...result },
      { mergeWithLastSubmission: merge },
    )
    ctx.status = 303
    ctx.redirect(returnTo)
  }

  function refuse(ctx: Context, status: number, interaction: Interaction, alarm: string, username?: string) {
    ctx.status = status
    return show(ctx, interaction, alarm, username)
  }

  function tooMany(ctx: Context, interaction: Interaction, waitSeconds: number, username?: string) {
    const minutes = Math.ceil(waitSeconds / 60)
    ctx.set('retry-after', String(waitSeconds))
    return refuse(ctx, 429, interaction, `Too many attempts. Try again in ${minutes} min.`, username)
  }

  /** Who gave the right password in this interaction, a short while ago, if it has not been ended since. */
  async function passedPassword({ result }: Interaction): Promise<Person | undefined> {
    const passed = result?.['passedPassword'] as { readonly sub: string; readonly at: number } | undefined
    if (passed === undefined || passed.at + SECOND_FACTOR_SECONDS_MAX <= now()) return undefined
    const person = await people.find(passed.sub)
    return person !== undefined && person.validAfter <= passed.at ? person : undefined
  }

  async function clientName({ params }: Interaction): Promise<string> {
    const client = await provider.Client.find(String(params['client_id']))
    return client?.clientName ?? String(params['client_id'])
  }
}

/** All browsers of today say where a form comes from. What says nothing is not a browser, and carries no session. */
function checkOrigin(ctx: Context, origin: string): void {
  const from = ctx.get('origin')
  const site = ctx.get('sec-fetch-site')
  if ((from === '' || from === origin) && (site === '' || site === 'same-origin')) return
  throw new errors.InvalidRequest('the form comes from another site', 403)
}

interface Missing {
  readonly missingOIDCScope: readonly string[]
  readonly missingResourceScopes: Readonly<Record<string, readonly string[]>>
}

function missing({ prompt }: Interaction): Missing {
  return { missingOIDCScope: [], missingResourceScopes: {}, ...(prompt.details as Partial<Missing>) }
}

function placed(scopes: Iterable<string>, audience: string): string[] {
  return [...scopes].map((scope) => `${scope} at ${audience}`)
}

function split(scopes: string): string[] {
  return scopes.split(' ').filter((scope) => scope !== '')
}

const knownScopes: Readonly<Record<string, string>> = {
  openid: 'Know that it is you when you come back',
  profile: 'See your username',
  email: 'See your mail address',
  offline_access: 'Keep this access while you are away',
}

function describeScope(scope: string): string {
  return knownScopes[scope] ?? scope
}
