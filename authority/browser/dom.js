/**
 * Pieces of page. Whatever is not a piece already goes in as text, so no value can become markup.
 * @module
 */

/** @typedef {Node | string | false | undefined} Child */

/**
 * @template {keyof HTMLElementTagNameMap} Name
 * @param {Name} name
 * @param {Readonly<Record<string, string>>} attributes
 * @param {...(Child | readonly Child[])} children
 * @returns {HTMLElementTagNameMap[Name]}
 */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name)
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value)
  made.append(...children.flat().filter((child) => child !== undefined && child !== false))
  return made
}

/**
 * A part of the page that its HTML brought.
 * @param {string} id
 */
export function part(id) {
  const found = document.getElementById(id)
  if (found === null) throw new Error(`the page has no ${id}`)
  return found
}

/**
 * A box that says how something went.
 * @param {'good' | 'alarm' | 'note'} kind
 * @param {string} title
 * @param {...Child} more
 */
export function notice(kind, title, ...more) {
  const box = element('div', { class: `notice ${kind}`, tabindex: '-1' })
  box.append(element('p', {}, element('strong', {}, title)))
  for (const child of more) if (child) box.append(typeof child === 'string' ? element('p', {}, child) : child)
  return box
}

/**
 * A button that copies a text, and says so.
 * @param {string} label
 * @param {() => string} read
 */
export function copyButton(label, read) {
  const button = element('button', { type: 'button', class: 'second small' }, label)
  const said = element('span', { role: 'status', class: 'quiet said' })
  button.addEventListener('click', async () => {
    const done = await navigator.clipboard.writeText(read()).then(
      () => true,
      () => false,
    )
    said.textContent = done ? 'Copied' : 'The browser does not let this page copy: mark the text yourself.'
  })
  return element('p', { class: 'copy' }, button, said)
}
