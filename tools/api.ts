/**
 * Writes docs/api from the declarations of the published package: a page for each entry, with what its docstrings say. What is
 * shown is what a user's compiler sees, since both read the same files.
 *
 *     node tools/api.ts    rewrites the pages; test/release.test.ts fails where somebody should have
 * @module
 */

import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { type Comment, parseSync, type Statement, Visitor } from 'oxc-parser'
import { buildPackage, entries } from './release.ts'
import { root } from './source.ts'

export const folder = 'docs/api'

/** Something that a module declares: a type, a function with its overloads, a class or a constant. */
interface Declared {
  readonly doc: string
  /** As TypeScript, with the comments of its members. */
  readonly code: string
  readonly isExported: boolean
  /** Types that it names. */
  readonly names: readonly string[]
}

/** A declaration file, read. */
interface Declarations {
  readonly doc: string
  readonly declared: ReadonlyMap<string, Declared>
  /** Names from other modules, with what they are called there. */
  readonly imported: ReadonlyMap<string, Place>
  /** What the module exports of itself or of others, in order. */
  readonly exported: ReadonlyMap<string, Place & { readonly isType: boolean }>
}

interface Place {
  readonly module: string
  readonly name: string
}

/** The pages by file name, from the declarations of a built package. */
export function apiPages(packageFolder: string): ReadonlyMap<string, string> {
  const read = readDeclarations(join(packageFolder, 'lib'))
  const places = new Map<string, string>()
  for (const [entry, module] of Object.entries(entries)) {
    for (const [name, place] of read(module).exported) {
      const { module: home } = resolve(read, place)
      if (!places.has(`${home}#${name}`)) places.set(`${home}#${name}`, `${pageOf(entry)}#${anchor(name)}`)
    }
  }
  const pages = Object.keys(entries).map((entry) => [pageOf(entry), entryPage(entry, read, places)] as const)
  return new Map([['README.md', overview(read)], ...pages])
}

/** What is exported and says nothing of itself. */
export function undocumented(packageFolder: string): readonly string[] {
  const read = readDeclarations(join(packageFolder, 'lib'))
  return Object.values(entries).flatMap((module) =>
    [...read(module).exported]
      .filter(([, place]) => {
        const { module: home, name } = resolve(read, place)
        return read(home).declared.get(name)?.doc === ''
      })
      .map(([name]) => `${module}: ${name}`),
  )
}

type Read = (module: string) => Declarations

function readDeclarations(lib: string): Read {
  const modules = new Map<string, Declarations>()
  for (const file of globSync('*.d.ts', { cwd: lib })) {
    const module = basename(file, '.d.ts')
    modules.set(module, readDeclaration(module, readFileSync(join(lib, file), 'utf8')))
  }
  return (module) => {
    const found = modules.get(module)
    if (found === undefined) throw new Error(`no module ${module} in the package`)
    return found
  }
}

function readDeclaration(module: string, text: string): Declarations {
  const { program, comments } = parseSync(`${module}.d.ts`, text)
  const declared = new Map<string, Declared>()
  const imported = new Map<string, Place>()
  const exported = new Map<string, Place & { readonly isType: boolean }>()
  for (const statement of program.body) {
    switch (statement.type) {
      case 'ImportDeclaration':
        for (const specifier of statement.specifiers) {
          if (specifier.type !== 'ImportSpecifier' || !('name' in specifier.imported)) continue
          const place = { module: moduleOf(statement.source.value), name: specifier.imported.name }
          imported.set(specifier.local.name, place)
        }
        break
      case 'ExportNamedDeclaration':
        for (const { local, exported: as, exportKind } of statement.specifiers) {
          if (!('name' in local) || !('name' in as)) continue
          const isType = exportKind === 'type' || statement.exportKind === 'type'
          const home = statement.source === null ? module : moduleOf(statement.source.value)
          exported.set(as.name, { module: home, name: local.name, isType })
        }
        if (statement.declaration !== null) add(statement, true)
        break
      default:
        add(statement, false)
    }
  }

  function add(statement: Statement, isExported: boolean): void {
    const declaration = statement.type === 'ExportNamedDeclaration' ? statement.declaration : statement
    if (declaration === null) return
    const name = nameOf(declaration as Statement)
    if (name === undefined) return
    if (isExported) exported.set(name, { module, name, isType: false })
    const before = declared.get(name)
    const code = text
      .slice(statement.start, statement.end)
      .replace(/^(?:export )?(?:declare )?/, '')
      .replaceAll(/^( {4})+/gm, (indent) => ' '.repeat(indent.length / 2))
      .replaceAll(/^ +#private;\n/gm, '')
    const doc = docBefore(statement, comments, text)
    declared.set(name, {
      doc: [before?.doc, doc].filter((each) => each).join('\n\n'),
      code: before === undefined ? code : `${before.code}\n${code}`,
      isExported: isExported || before?.isExported === true,
      names: [...new Set([...(before?.names ?? []), ...typesNamed(statement, program.body)])],
    })
  }

  const first = comments.find(({ value }) => value.includes('@module'))
  return { doc: first === undefined ? '' : plain(first.value), declared, imported, exported }
}

function nameOf(declaration: Statement): string | undefined {
  if (declaration.type === 'VariableDeclaration') {
    const id = declaration.declarations[0]?.id
    return id?.type === 'Identifier' ? id.name : undefined
  }
  return 'id' in declaration && declaration.id?.type === 'Identifier' ? declaration.id.name : undefined
}

function moduleOf(specifier: string): string {
  return basename(specifier, '.js')
}

/** Follows re-exports to where the name is declared. */
function resolve(read: Read, { module, name }: Place): Place {
  const { declared, exported, imported } = read(module)
  if (declared.has(name)) return { module, name }
  const next = exported.get(name) ?? imported.get(name)
  return next === undefined || next.module === module ? { module, name } : resolve(read, next)
}

function typesNamed(statement: Statement, body: readonly Statement[]): readonly string[] {
  const names: string[] = []
  const take = (node: { readonly type: string }): void => {
    if (node.type === 'Identifier') names.push((node as unknown as { readonly name: string }).name)
  }
  new Visitor({
    TSTypeReference: ({ typeName }) => take(typeName),
    TSInterfaceHeritage: ({ expression }) => take(expression),
    TSTypeQuery: ({ exprName }) => take(exprName),
  }).visit({
    type: 'Program',
    body: [statement],
    start: 0,
    end: 0,
    sourceType: 'module',
    hashbang: null,
  } as never)
  return body.length === 0 ? [] : names
}

function docBefore({ start }: Statement, comments: readonly Comment[], text: string): string {
  const comment = comments.findLast(({ end }) => end <= start)
  if (comment === undefined || !comment.value.startsWith('*') || comment.value.includes('@module')) return ''
  return text.slice(comment.end, start).trim() === '' ? plain(comment.value) : ''
}

/** A docstring without its stars. */
function plain(comment: string): string {
  return comment
    .replace(/^\*/, '')
    .split('\n')
    .map((line) => line.replace(/^ *\* ?/, '').trimEnd())
    .filter((line) => line !== '@module')
    .join('\n')
    .trim()
}

function pageOf(entry: string): string {
  return `${entry === '.' ? 'validator' : entry.slice('./'.length)}.md`
}

function specifierOf(entry: string): string {
  return `@countersign/validator${entry.slice(1)}`
}

/** As a page on the web links to a heading that is one name in code. */
function anchor(name: string): string {
  return name.toLowerCase()
}

function entryPage(entry: string, read: Read, places: ReadonlyMap<string, string>): string {
  const module = entries[entry] ?? ''
  const { doc, exported } = read(module)
  const shown = new Set<string>()
  const sections: string[] = []
  const named: Place[] = []
  // What can be called comes first, then what it takes and gives.
  const inOrder = [...exported].sort(([, a], [, b]) => Number(isValue(read, b)) - Number(isValue(read, a)))
  for (const [name, place] of inOrder) {
    const home = resolve(read, place)
    const declared = read(home.module).declared.get(home.name)
    if (declared === undefined) continue
    const elsewhere = places.get(`${home.module}#${name}`)
    if (elsewhere !== `${pageOf(entry)}#${anchor(name)}`) {
      sections.push(`## \`${name}\``, `[The same](${elsewhere}) as of another entry.`)
      continue
    }
    shown.add(`${home.module}#${home.name}`)
    named.push(...declared.names.map((each) => ({ module: home.module, name: each })))
    sections.push(`## \`${name}\``, ...body(declared, place.isType))
  }
  const others: string[] = []
  const links = new Map<string, string>()
  for (const place of named) gather(place, 0)

  function gather(place: Place, depth: number): void {
    if (!isOurs(place)) return
    const home = resolve(read, place)
    const key = `${home.module}#${home.name}`
    const declared = read(home.module).declared.get(home.name)
    if (declared === undefined || shown.has(key)) return
    shown.add(key)
    const link = places.get(key)
    if (link !== undefined) return void links.set(home.name, link)
    others.push(`### \`${home.name}\``, ...body(declared, true))
    // What those name is of interest where it is a part of them alone; further in begins the inside.
    if (depth < 1) for (const name of declared.names) gather({ module: home.module, name }, depth + 1)
  }

  function isOurs({ module: from, name }: Place): boolean {
    const { declared, imported } = read(from)
    return declared.has(name) || globOurs(imported.get(name))
  }

  function globOurs(place: Place | undefined): boolean {
    try {
      return place !== undefined && read(place.module) !== undefined
    } catch {
      return false
    }
  }

  return page([
    `# ${specifierOf(entry)}`,
    mark,
    doc,
    ...sections,
    ...(others.length > 0
      ? ['## Named above', 'These are not exported by name; TypeScript finds them from what is.', ...others]
      : []),
    ...(links.size > 0
      ? ['## See also', [...links].map(([name, link]) => `- [\`${name}\`](${link})`).join('\n')]
      : []),
  ])
}

function body({ doc, code }: Declared, isType: boolean): readonly string[] {
  // Who has the type alone cannot make one.
  const shown = isType ? code.replaceAll(/^ +(?:\/\*\*.*\*\/\n +)?constructor\(.*\n/gm, '') : code
  return [...(doc === '' ? [] : [doc]), `\`\`\`ts\n${shown}\n\`\`\``]
}

function overview(read: Read): string {
  const rows = Object.entries(entries).map(([entry, module]) => {
    const { doc, exported } = read(module)
    const [sentence = ''] = /^.*?[.:](?=\s|$)/s.exec(doc) ?? []
    const what = sentence.replaceAll('\n', ' ').replace(/:$/, '.')
    const values = [...exported].filter(([, place]) => isValue(read, place)).map(([name]) => `\`${name}\``)
    return `| [\`${specifierOf(entry)}\`](${pageOf(entry)}) | ${what} | ${values.join(', ')} |`
  })
  return page([
    '# The API of the validator',
    mark,
    'Everything that the published package exports; what is not here is internal and cannot be imported. Times are seconds since the\nepoch where a name does not say otherwise, and what a token can be refused for stands in [reasons](../reasons.md).',
    ['| import | what it is | values |', '| --- | --- | --- |', ...rows].join('\n'),
  ])
}

/** Whether it is there when a program runs, or for the compiler alone. */
function isValue(read: Read, place: Place & { readonly isType: boolean }): boolean {
  const { module, name } = resolve(read, place)
  return (
    !place.isType &&
    /^(?:async )?(?:function|class|const|let)\b/.test(read(module).declared.get(name)?.code ?? '')
  )
}

const mark = '<!-- Written by tools/api.ts from the docstrings in validator/src. -->'

function page(parts: readonly string[]): string {
  return `${parts.filter((part) => part !== '').join('\n\n')}\n`
}

if (import.meta.main) {
  const temporary = mkdtempSync(join(tmpdir(), 'countersign-api-'))
  const built = buildPackage(temporary)
  for (const page of globSync('*.md', { cwd: join(root, folder) })) rmSync(join(root, folder, page))
  for (const [name, text] of apiPages(built.folder)) writeFileSync(join(root, folder, name), text)
  for (const name of undocumented(built.folder)) console.log(`without a docstring: ${name}`)
  rmSync(temporary, { recursive: true })
}
