/**
 * The page on which a person makes the passkey that they will approve with. Nothing is sent: what comes out is for a
 * charter proposal, which others approve.
 * @module
 */

import { algorithmOf, thumbprint } from './document.js'
import { copyButton, element, notice, part } from './dom.js'
import { makePasskey, namedAddress, obstacle, problemOf } from './passkey.js'

const form = /** @type {HTMLFormElement} */ (part('form'))
const name = /** @type {HTMLInputElement} */ (part('operator'))
const button = /** @type {HTMLButtonElement} */ (part('make'))
const outcome = part('outcome')

const problem = obstacle()
if (problem !== undefined) {
  const address = namedAddress()
  form.replaceChildren(
    notice(
      'note',
      problem,
      address !== undefined && element('p', {}, element('a', { href: address }, `Open ${address}`)),
    ),
  )
}

form.addEventListener('submit', async (event) => {
  event.preventDefault()
  button.disabled = true
  const result = await make(name.value).catch((error) => [notice('alarm', problemOf(error))])
  outcome.replaceChildren(...result)
  button.disabled = false
  outcome.querySelector('div')?.focus()
})

/** @param {string} id */
async function make(id) {
  const operator = await makePasskey(id)
  const entry = JSON.stringify(operator, null, 2)
  return [
    notice('good', 'The passkey is made, and on your device.'),
    element('h2', {}, 'Your entry for the charter'),
    element(
      'p',
      {},
      'Give it to whoever proposes the next charter, as a member of ',
      element('code', {}, 'operators'),
      '. It holds no secret.',
    ),
    element('pre', { tabindex: '0', id: 'entry' }, entry),
    copyButton('Copy the entry', () => entry),
    element('h2', {}, 'Name of the key'),
    element(
      'p',
      { class: 'thumbprint', id: 'thumbprint' },
      `${algorithmOf(operator.jwk)} ${await thumbprint(operator.jwk)}`,
    ),
    element(
      'p',
      { class: 'quiet' },
      'Those who approve the charter see this name. Tell it to them yourself, so that they know the key is yours.',
    ),
  ]
}
