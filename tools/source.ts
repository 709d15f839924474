/**
 * Reads our own source as data: what a module imports, what it does when it is imported, and the strings in it. The
 * tests of the architecture and the tables in docs/ stand on this, so that both follow the code and not a description.
 * @module
 */

import { globSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { type Node, parseSync, Visitor } from 'oxc-parser'

export const root = resolve(import.meta.dirname, '..')

/** One module, by its path from the root of the repository. */
export interface Module {
  readonly path: string
  /** Every specifier it imports or exports from, type-only and dynamic ones too. */
  readonly imports: readonly string[]
  /** Those that are still there when it runs: `import type` is erased. */
  readonly runtimeImports: readonly string[]
  /** Reads the environment of the process. */
  readonly readsEnvironment: boolean
  /** Importing it does something, beyond defining names. */
  readonly actsOnImport: boolean
}

/** What stands at the top of a module and only defines names. */
const DEFINITIONS: ReadonlySet<string> = new Set([
  'ImportDeclaration',
  'ExportAllDeclaration',
  'ExportDefaultDeclaration',
  'ExportNamedDeclaration',
  'FunctionDeclaration',
  'ClassDeclaration',
  'VariableDeclaration',
  'TSTypeAliasDeclaration',
  'TSInterfaceDeclaration',
  'TSDeclareFunction',
  'TSModuleDeclaration',
])

/** The text of every file of ours that matches, by path, in order. */
export function readSources(...patterns: readonly string[]): ReadonlyMap<string, string> {
  const paths = globSync([...patterns], { cwd: root, exclude: (path) => path.includes('node_modules') })
  return new Map(paths.sort().map((path) => [path, readFileSync(join(root, path), 'utf8')]))
}

/** Reads one module. Throws where it does not parse. */
export function readModule(path: string, text: string): Module {
  const { program, module } = parse(path, text)
  const imports: string[] = []
  const runtimeImports: string[] = []
  const add = (specifier: string, isType: boolean): void => {
    imports.push(specifier)
    if (!isType) runtimeImports.push(specifier)
  }
  for (const { moduleRequest, entries } of module.staticImports) {
    add(moduleRequest.value, entries.length > 0 && entries.every(({ isType }) => isType))
  }
  for (const { moduleRequest, isType } of module.staticExports.flatMap(({ entries }) => entries)) {
    if (moduleRequest !== null) add(moduleRequest.value, isType)
  }
  let readsEnvironment = false
  let awaitsAtTop = false
  // How many functions, or guards that keep an import from getting there, are around what is visited.
  let depth = 0
  const enter = (): void => void depth++
  const leave = (): void => void depth--
  new Visitor({
    ImportExpression({ source }) {
      if (source.type === 'Literal') add(String(source.value), false)
    },
    MemberExpression({ object, property }) {
      const named = property.type === 'Identifier' ? property.name : 'value' in property && property.value
      if (object.type === 'Identifier' && object.name === 'process' && named === 'env')
        readsEnvironment = true
    },
    ImportDeclaration({ source, specifiers }) {
      const names = specifiers.map((s) => ('imported' in s && 'name' in s.imported ? s.imported.name : ''))
      if (source.value === 'node:process' && names.includes('env')) readsEnvironment = true
    },
    AwaitExpression() {
      awaitsAtTop ||= depth === 0
    },
    FunctionDeclaration: enter,
    'FunctionDeclaration:exit': leave,
    FunctionExpression: enter,
    'FunctionExpression:exit': leave,
    ArrowFunctionExpression: enter,
    'ArrowFunctionExpression:exit': leave,
    IfStatement(part) {
      if (runsAlone(part, text)) enter()
    },
    'IfStatement:exit'(part) {
      if (runsAlone(part, text)) leave()
    },
  }).visit(program)
  const actsOnImport =
    awaitsAtTop || program.body.some((part) => !DEFINITIONS.has(part.type) && !runsAlone(part, text))
  return { path, imports: [...new Set(imports)], runtimeImports, readsEnvironment, actsOnImport }
}

/** Every string in a module, a template with `…` where a value goes in. */
export function readStrings(path: string, text: string): readonly string[] {
  const strings: string[] = []
  new Visitor({
    Literal({ value }) {
      if (typeof value === 'string') strings.push(value)
    },
    TemplateLiteral({ quasis }) {
      strings.push(quasis.map(({ value }) => value.cooked ?? value.raw).join('…'))
    },
  }).visit(parse(path, text).program)
  return strings
}

/** `if (import.meta.main)` does nothing on import: it is there for who runs the file. */
function runsAlone(part: Node, text: string): boolean {
  return part.type === 'IfStatement' && text.slice(part.test.start, part.test.end) === 'import.meta.main'
}

function parse(path: string, text: string): ReturnType<typeof parseSync> {
  const parsed = parseSync(path, text)
  const [error] = parsed.errors
  if (error !== undefined) throw new Error(`${path} does not parse: ${error.message}`)
  return parsed
}
