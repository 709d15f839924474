/**
 * The pages. Whatever is put into one is escaped there, since `html` escapes all that is not itself a piece of page;
 * and were that forgotten, the policy that goes out with each page lets nothing run or load but the one script and
 * the one style sheet below.
 * @module
 */

import { createHash } from 'node:crypto'
import { Html, html } from '@countersign/service/html'
import { pageStyle } from '@countersign/service/page'
import type { Denial } from '@countersign/validator/bearer'
import type { Mailbox, Message } from './mailbox.ts'

/** For who comes without a token: what this is, and a field to put one in. */
export function welcomePage(): string {
  return page(
    'Webmail',
    html`
    <p>A protected application with sample mail. It opens a mailbox to an access token that its validator accepts, and
      reads the token from the <code>Authorization</code> header alone.</p>
    ${tokenForm}
    <p>A program asks for <code>/api/messages</code> and <code>/api/messages/ID</code> with the same header.</p>`,
  )
}

/** For who comes with a token that was refused. */
export function denialPage({ reason, body: { error_description: why = reason } }: Denial): string {
  return page(
    'Refused',
    html`<p role="alert">The token was refused, as <code>${reason}</code>: ${why}.</p>${tokenForm}`,
  )
}

/** For who comes with a good token that owns no mailbox, such as a program's. */
export function strangerPage(): string {
  return page('No mailbox', html`<p>The token is good, and its owner has no mailbox here.</p>${tokenForm}`)
}

/** A mailbox, into which its script puts what arrives while the page is open. */
export function mailboxPage({ address, messages }: Mailbox): string {
  return page(address, html`${messages.map(renderMessage)}`, messages.at(-1)?.id ?? '')
}

/** Sent with each page. Forms may not be sent either: without its script, the field's would put a token in a URL. */
export function pageHeaders(): Record<string, string> {
  return {
    'content-type': 'text/html; charset=utf-8',
    'content-security-policy': [
      "default-src 'none'",
      `script-src '${sourceHash(script)}'`,
      `style-src '${sourceHash(style)}'`,
      "connect-src 'self'",
      "base-uri 'none'",
      "form-action 'none'",
      "frame-ancestors 'none'",
    ].join('; '),
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff',
    'cross-origin-opener-policy': 'same-origin',
    'cross-origin-resource-policy': 'same-origin',
    'cache-control': 'no-store',
    vary: 'accept, authorization',
  }
}

function renderMessage({ from, subject, date, text }: Message): Html {
  return html`
    <details>
      <summary><b>${subject}</b> <span>${from}</span> <time datetime="${date}">${date.slice(0, 10)}</time></summary>
      <p>${text}</p>
    </details>`
}

/** `last` is the newest message of a page that waits for more. */
function page(title: string, main: Html, last?: string): string {
  const waiting = last === undefined ? new Html('') : html` data-last="${last}"`
  return html`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${title}</title>
<style>${new Html(style)}</style>
<main>
    <h1${waiting}>${title}</h1>${main}
</main>
<script>${new Html(script)}</script>
</html>
`.text
}

function sourceHash(source: string): string {
  return `sha256-${createHash('sha256').update(source).digest('base64')}`
}

/** The field has no name, so that no browser can send it by itself. */
const tokenForm = html`
    <form>
      <label for="token">Access token</label>
      <input id="token" type="password" autocomplete="off" spellcheck="false" required>
      <button>Open the mailbox</button>
    </form>`

const style = `${pageStyle}
  body { align-content: start }
  main { width: 100%; max-width: 44rem; margin: 1.5rem 0 }
  form { max-width: 24rem; margin: 1.5rem 0 }
  details { border-top: 1px solid var(--line); padding: .6rem 0 }
  summary { cursor: pointer }
  summary span, time { color: var(--quiet) }
  time { float: right }
  @media (max-width: 40rem) { summary b { display: inline-block; width: calc(100% - 1.5rem) } }
  details p { white-space: pre-wrap }
  h1 { font-size: clamp(1.35rem, 6vw, 2rem) }
`

const script = `
  let events
  async function open(headers) {
    const response = await fetch('/', { headers: { accept: 'text/html', ...headers }, cache: 'no-store' })
    const answer = new DOMParser().parseFromString(await response.text(), 'text/html')
    document.querySelector('main').replaceWith(answer.querySelector('main'))
    listen()
  }
  function listen() {
    events?.close()
    const { last } = document.querySelector('h1').dataset
    if (last === undefined) return
    events = new EventSource('/events?after=' + encodeURIComponent(last))
    events.addEventListener('mail', ({ data }) => show(JSON.parse(data)))
    events.addEventListener('end', () => { events.close(); open({}) })
  }
  function show({ from, subject, date, text }) {
    const make = (name, content) => Object.assign(document.createElement(name), { textContent: content })
    const [details, summary, time] = [make('details', ''), make('summary', ''), make('time', date.slice(0, 10))]
    time.dateTime = date
    summary.append(make('b', subject), ' ', make('span', from), ' ', time)
    details.append(summary, make('p', text))
    document.querySelector('main').append(details)
  }
  document.addEventListener('submit', async (event) => {
    event.preventDefault()
    const authorization = 'Bearer ' + document.getElementById('token').value.trim()
    await fetch('/session', { method: 'POST', headers: { authorization } })
    await open({ authorization })
  })
  listen()
`
