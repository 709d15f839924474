/**
 * The pages on which operators approve with passkeys. The HTML here is always the same: what a proposal says is read
 * and laid out in the browser, from the very text that is signed. Nothing is stored here, and no value of anybody's
 * goes into the markup. The scripts run as they stand in `browser/`.
 * @module
 */

import { readFileSync } from 'node:fs'
import { mark, pageStyle } from '@countersign/service/page'
import type { FastifyInstance } from 'fastify'

const types = {
  css: 'text/css; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  svg: 'image/svg+xml',
} as const

const files = [
  'pages.css',
  'mark.svg',
  'api.js',
  'approve.js',
  'base64url.js',
  'difference.js',
  'document.js',
  'dom.js',
  'enrol.js',
  'passkey.js',
  'review.js',
  'waiting.js',
  'words.js',
] as const

/**
 * What a browser may do with a page: run our scripts, which stand in files of their own, and ask this authority. No
 * text can become script in it, and nobody can put it in a frame.
 */
const headers = {
  'content-security-policy': [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "base-uri 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ].join('; '),
  'permissions-policy': 'publickey-credentials-get=(self), publickey-credentials-create=(self)',
  'x-frame-options': 'DENY',
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'cache-control': 'no-store',
} as const

/** Adds the pages to a server: `/approve`, `/approve/ID`, `/passkey`, and what they are made of. */
export function addPages(http: FastifyInstance): void {
  void http.register(async (routes) => {
    routes.addHook('onSend', async (_request, reply) => void reply.headers(headers))
    const add = (path: string, type: string, content: string): void => {
      routes.get(path, (_request, reply) => reply.type(type).send(content))
    }
    add('/approve', 'text/html; charset=utf-8', waitingPage)
    add('/approve/:id', 'text/html; charset=utf-8', proposalPage)
    add('/passkey', 'text/html; charset=utf-8', passkeyPage)
    for (const file of files) {
      const type = types[file.slice(file.lastIndexOf('.') + 1) as keyof typeof types]
      const own = readFileSync(new URL(`../browser/${file}`, import.meta.url), 'utf8')
      add(`/pages/${file}`, type, file === 'pages.css' ? pageStyle + own : own)
    }
  })
}

const needsScript = `<noscript><div class="notice alarm"><p><strong>This page needs JavaScript.</strong></p>
<p>It reads the document in your browser, so that what you see is what you sign. Key files approve without it, on the
command line.</p></div></noscript>`

const proposalPage = page({
  title: 'Proposal',
  script: 'approve.js',
  main: `<div id="content" aria-busy="true"><h1>Proposal</h1>
<p class="quiet">Reading the document …</p>
${needsScript}
</div>`,
})

const waitingPage = page({
  title: 'What waits for approval',
  script: 'waiting.js',
  isNarrow: true,
  current: '/approve',
  main: `<div id="content" aria-busy="true"><h1>What waits for approval</h1>
<p class="lead">A proposal widens trust once enough operators have approved it. Each of them sees here what it changes.</p>
${needsScript}
<div id="list"></div>
</div>`,
})

const passkeyPage = page({
  title: 'Make a passkey',
  script: 'enrol.js',
  isNarrow: true,
  current: '/passkey',
  main: `<h1>Make a passkey</h1>
<p class="lead">With it you approve as an operator, once the others have put its public key into the charter. The passkey
stays on your device. Nothing is sent or stored here.</p>
<div class="sheet">
${needsScript}
<form id="form">
<label for="operator">Your name as an operator</label>
<input id="operator" required pattern="[A-Za-z0-9][A-Za-z0-9._@\\-]{0,63}" maxlength="64" autocomplete="off" autocapitalize="none" spellcheck="false" aria-describedby="rule">
<p class="quiet small" id="rule">Letters, digits and . _ @ - as it will stand in the charter.</p>
<button type="submit" id="make">Make a passkey</button>
</form>
<div id="outcome" role="status"></div>
</div>`,
})

interface Parts {
  readonly title: string
  readonly script: (typeof files)[number]
  readonly main: string
  readonly isNarrow?: boolean
  /** Which of the links in the head leads here. */
  readonly current?: string
}

/** Put together from what stands in this file alone. */
function page({ title, script, main, isNarrow = false, current }: Parts): string {
  const link = (href: string, text: string): string =>
    `<a href="${href}"${href === current ? ' aria-current="page"' : ''}>${text}</a>`
  const width = isNarrow ? ' narrow' : ''
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title} · Countersign</title>
<link rel="icon" href="/pages/mark.svg">
<link rel="stylesheet" href="/pages/pages.css">
<script type="module" src="/pages/${script}"></script>
</head>
<body>
<header class="bar${width}">
<div class="mark">${mark.text}<span>Countersign authority</span></div>
<nav aria-label="Pages">${link('/approve', 'Waiting')}${link('/passkey', 'Make a passkey')}</nav>
</header>
<main class="main${width}">
${main}
</main>
<footer>What you approve is checked by every validator for itself.</footer>
</body>
</html>
`
}
