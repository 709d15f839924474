/**
 * The pages that people see: plain HTML, usable without script and with any input device. Each is a function of what
 * it shows. No script runs on them, and none may be put in a frame.
 * @module
 */

import { hash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { type Html, html, Html as Markup } from '@countersign/service/html'
import { mark, pageStyle } from '@countersign/service/page'
import { type ErrorOut, errors } from 'oidc-provider'

const style = pageStyle + readFileSync(new URL('pages.css', import.meta.url), 'utf8')
const styleSource = `'sha256-${hash('sha256', style, 'base64')}'`

/**
 * What a browser may do with a page. `formTargets`: origins that a form, or the redirect that answers it, may lead to
 * beside our own. `script-src 'self'` lets nothing in, as nothing here is served as a script; oidc-provider adds the
 * hash of the one that posts its automatic forms.
 */
export function pageHeaders(formTargets: readonly string[] = []): Readonly<Record<string, string>> {
  return {
    'content-security-policy': [
      "default-src 'none'",
      `style-src ${styleSource}`,
      "script-src 'self'",
      `form-action ${["'self'", ...formTargets].join(' ')}`,
      "frame-ancestors 'none'",
      "base-uri 'none'",
    ].join('; '),
    'x-frame-options': 'DENY',
    'x-content-type-options': 'nosniff',
    // With no-referrer, browsers send `Origin: null` with our own forms too.
    'referrer-policy': 'same-origin',
    'cross-origin-opener-policy': 'same-origin',
    'cache-control': 'no-store',
  }
}

/** Who is asking, and for whom: on every page, so that people can tell whom they give a password to. */
export interface Scene {
  readonly tenant: string
  readonly host: string
}

export interface Asked {
  readonly action: string
  readonly client: string
  /** Shown above the form, and read out by screen readers. */
  readonly alarm?: string | undefined
}

export function signInPage(
  scene: Scene,
  { action, client, alarm, username }: Asked & { readonly username?: string },
): string {
  return page(
    scene,
    'Sign in',
    html`<h1>Sign in</h1>
<p class="quiet">to continue to <strong>${client}</strong></p>
${alarmBox(alarm)}
<form method="post" action="${action}">
<label for="username">Username</label>
<input id="username" name="username" value="${username}" autocomplete="username" autocapitalize="none" spellcheck="false" maxlength="256" required${username === undefined && autofocus}>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" maxlength="1024" required${username !== undefined && autofocus}>
<button type="submit">Sign in</button>
</form>`,
    alarm,
  )
}

export function secondFactorPage(scene: Scene, { action, client, alarm }: Asked): string {
  return page(
    scene,
    'Enter your code',
    html`<h1>Enter your code</h1>
<p class="quiet">Open your authenticator app to continue to <strong>${client}</strong>.</p>
${alarmBox(alarm)}
<form method="post" action="${action}">
<label for="code">Six-digit code</label>
<input id="code" class="code" name="code" inputmode="numeric" autocomplete="one-time-code" pattern="[0-9]{6}" maxlength="6" title="Six digits" required autofocus>
<button type="submit">Verify</button>
</form>`,
    alarm,
  )
}

export function consentPage(
  scene: Scene,
  {
    action,
    client,
    username,
    scopes,
  }: Asked & { readonly username: string; readonly scopes: readonly string[] },
): string {
  return page(
    scene,
    'Allow access',
    html`<h1>Allow access</h1>
<p><strong>${client}</strong> asks for access to the account <strong>${username}</strong>:</p>
<ul>${scopes.map((scope) => html`<li>${scope}</li>`)}</ul>
<p class="quiet">Nothing more than this will be given.</p>
<form method="post" action="${action}">
<button type="submit" name="answer" value="allow">Allow</button>
<button type="submit" name="answer" value="deny" class="second">Do not allow</button>
</form>`,
  )
}

/** `form` comes from oidc-provider and holds the token that guards it; its buttons stand outside of it. */
export function signOutPage(scene: Scene, form: string): string {
  return page(
    scene,
    'Sign out',
    html`<h1>Sign out?</h1>
<p class="quiet">You will be signed out here and at every application that you used with this account.</p>
${new Markup(form)}
<button type="submit" form="op.logoutForm" name="logout" value="yes" autofocus>Sign out</button>
<button type="submit" form="op.logoutForm" class="second">Stay signed in</button>`,
  )
}

export function signedOutPage(scene: Scene): string {
  return page(
    scene,
    'Signed out',
    html`<h1>You are signed out</h1>
<p class="quiet">You can close this page now.</p>`,
  )
}

/** What people need to know comes first; the error and its description are for the makers of the application. */
export function errorPage(scene: Scene, { error, error_description }: ErrorOut, cause: unknown): string {
  const expired = cause instanceof errors.SessionNotFound
  const why = expired
    ? 'It took too long, or was finished in another window.'
    : error === 'server_error'
      ? 'Something went wrong here.'
      : 'The application asked for something that we cannot do.'
  return page(
    scene,
    'This did not work',
    html`<h1>${expired ? 'This sign-in is over' : 'This did not work'}</h1>
<p>${why} Go back to the application and start again.</p>
<p class="quiet">If it happens once more, tell its makers:<br><code>${error}: ${error_description}</code></p>`,
  )
}

const autofocus = html` autofocus`

function alarmBox(alarm: string | undefined): Html | undefined {
  return alarm === undefined ? undefined : html`<p class="alarm" role="alert">${alarm}</p>`
}

function page({ tenant, host }: Scene, title: string, content: Html, alarm?: string): string {
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${alarm !== undefined && 'Error: '}${title} · ${tenant}</title>
<style>${new Markup(style)}</style>
</head>
<body>
<main>
<div class="mark">${mark}<span>${tenant}</span></div>
${content}
</main>
<footer>${host} · Countersign</footer>
</body>
</html>
`.text
}
