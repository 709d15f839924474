/**
 * The rules that keep the rooms of this house apart, each a function from the modules and manifests to sentences about
 * what breaks it. npm hoists every package to one folder, so an import that no manifest declares resolves all the same:
 * only reading the imports shows it. docs/ARCHITECTURE.md says why each rule is there.
 * @module
 */

import { isBuiltin } from 'node:module'
import { dirname, join } from 'node:path/posix'
import type { Module } from '../tools/source.ts'

/** A workspace as its package.json describes it; the root is named `countersign`. */
export interface Manifest {
  readonly name: string
  readonly dependencies: readonly string[]
  readonly devDependencies: readonly string[]
  /** What the workspace works with and does not bring: only its types are imported. */
  readonly peerDependencies: readonly string[]
}

/** The whole house: manifests by workspace folder, the root under `.`. */
export interface House {
  readonly modules: readonly Module[]
  readonly manifests: ReadonlyMap<string, Manifest>
}

/** Returns a sentence for each place that breaks the rule. */
export type Rule = (house: House) => readonly string[]

const SCOPE = '@countersign/'

/**
 * Libraries: their modules may be imported, they themselves import nothing of ours. The validator publishes alone, and
 * the two shared rooms stand below everything else.
 */
const LIBRARIES: ReadonlySet<string> = new Set(['validator', 'lines', 'service'])

/** What attacks or measures the rest. Nobody may import them, and only they may import the operator's tool. */
const OUTSIDE: ReadonlySet<string> = new Set(['drill', 'bench', 'simulation'])

const SIGNER_DEPENDENCIES = ['@countersign/lines', '@countersign/validator', 'age-encryption', 'pkcs11js']

export const rules: Readonly<Record<string, Rule>> = {
  'each import is declared by its nearest manifest': ({ modules, manifests }) =>
    modules.flatMap((module) =>
      module.imports
        .filter((specifier) => !isInside(specifier) && !isBuiltin(specifier))
        .filter((specifier) => !isDeclared(packageOf(specifier), module.path, manifests))
        .map((specifier) => `${module.path} imports ${specifier}, which its manifest does not declare`),
    ),

  'built-in modules are imported by their node: names': ({ modules }) =>
    each(modules, (specifier) => isBuiltin(specifier) && !specifier.startsWith('node:')),

  'no path leads into another workspace': ({ modules, manifests }) =>
    modules.flatMap(({ path, imports }) =>
      imports
        .filter(isRelative)
        .map((specifier) => join(dirname(path), specifier))
        // The suites in test/ start whole services, and stand outside the product.
        .filter((target) => isProduct(path, manifests) && workspaceOf(target) !== workspaceOf(path))
        .map((target) => `${path} imports ${target} by its path`),
    ),

  'the validator imports Node and itself only, besides the types of the frameworks that it adapts to': ({
    modules,
    manifests,
  }) => {
    const frameworks = manifests.get('validator')?.peerDependencies ?? []
    return inWorkspace(modules, 'validator')
      .filter(isProductCode)
      .flatMap((module) =>
        each(
          [module],
          (specifier) =>
            !isInside(specifier) &&
            !isBuiltin(specifier) &&
            (module.runtimeImports.includes(specifier) || !frameworks.includes(specifier)),
        ),
      )
  },

  'the libraries import nothing of ours': ({ modules }) =>
    each(
      modules.filter(({ path }) => LIBRARIES.has(workspaceOf(path))),
      (specifier) => ourWorkspace(specifier) !== undefined,
    ),

  'lines has no dependency': ({ manifests }) =>
    (manifests.get('lines')?.dependencies ?? []).map((name) => `lines depends on ${name}`),

  'the signer depends on four packages': ({ manifests }) => {
    const signer = manifests.get('signer')?.dependencies
    const same = signer === undefined || [...signer].sort().join() === SIGNER_DEPENDENCIES.join()
    return same ? [] : [`the signer depends on ${signer.join(', ')}`]
  },

  'a service is imported by its client, and its core by the simulation alone': ({ modules, manifests }) =>
    modules.flatMap(({ path, imports }) =>
      imports
        .filter((specifier) => {
          const target = ourWorkspace(specifier)
          if (target === undefined || LIBRARIES.has(target) || !isProduct(path, manifests)) return false
          if (specifier === `${SCOPE}${target}/core`) return workspaceOf(path) !== 'simulation'
          return specifier !== `${SCOPE}${target}/client`
        })
        .map((specifier) => `${path} imports ${specifier}`),
    ),

  'nobody imports drill, bench or simulation, and only they import the cli': ({ modules, manifests }) =>
    modules
      .filter(({ path }) => isProduct(path, manifests))
      .flatMap(({ path, imports }) =>
        imports
          .filter((specifier) => {
            const target = ourWorkspace(specifier) ?? ''
            return OUTSIDE.has(target) || (target === 'cli' && !OUTSIDE.has(workspaceOf(path)))
          })
          .map((specifier) => `${path} imports ${specifier}`),
      ),

  'no modules import each other in a circle': ({ modules }) => {
    const arrows = new Map(
      modules.map(({ path, runtimeImports }) => [
        path,
        runtimeImports.filter(isRelative).map((specifier) => join(dirname(path), specifier)),
      ]),
    )
    return circles(arrows)
  },

  'no workspaces import each other in a circle': ({ modules }) => {
    const arrows = new Map<string, string[]>()
    for (const { path, imports } of modules.filter(isProductCode)) {
      const from = workspaceOf(path)
      const targets = imports.map(ourWorkspace).filter((target) => target !== undefined && target !== from)
      arrows.set(from, [...(arrows.get(from) ?? []), ...(targets as string[])])
    }
    return circles(arrows)
  },

  'the environment is read by service and cli only': ({ modules }) =>
    modules
      .filter(isProductCode)
      .filter(
        ({ path, readsEnvironment }) => readsEnvironment && !['service', 'cli'].includes(workspaceOf(path)),
      )
      .map(({ path }) => `${path} reads the environment`),

  'only main.ts acts on import': ({ modules }) =>
    modules
      .filter(isProductCode)
      .filter(({ path, actsOnImport }) => actsOnImport && !path.endsWith('/src/main.ts'))
      .map(({ path }) => `${path} does something when it is imported`),
}

function each(modules: readonly Module[], wrong: (specifier: string) => boolean): readonly string[] {
  return modules.flatMap(({ path, imports }) =>
    imports.filter(wrong).map((specifier) => `${path} imports ${specifier}`),
  )
}

function inWorkspace(modules: readonly Module[], workspace: string): readonly Module[] {
  return modules.filter(({ path }) => workspaceOf(path) === workspace)
}

/** A test may also use what the root declares for development; nothing that runs in production may. */
function isDeclared(name: string, path: string, manifests: House['manifests']): boolean {
  const own = manifests.get(workspaceOf(path))
  if (own?.name === name || own?.dependencies.includes(name) || own?.devDependencies.includes(name))
    return true
  if (own?.peerDependencies.includes(name)) return true
  if (isProduct(path, manifests) && isProductCode({ path })) return false
  const root = manifests.get('.')
  // The root's own folders (test, tools) reach every workspace: npm links them for it.
  const linked =
    !isProduct(path, manifests) && [...manifests.values()].some((manifest) => manifest.name === name)
  return linked || (root?.devDependencies.includes(name) ?? false)
}

function isProduct(path: string, manifests: House['manifests']): boolean {
  return manifests.has(workspaceOf(path))
}

/** Neither a test nor one of the root's own scripts. */
function isProductCode({ path }: Pick<Module, 'path'>): boolean {
  return !path.endsWith('.test.ts') && !/^(test|tools|spec)\//.test(path)
}

/** A path, or a name that the manifest's `imports` gives to a module of the same workspace. */
function isInside(specifier: string): boolean {
  return isRelative(specifier) || specifier.startsWith('#')
}

function isRelative(specifier: string): boolean {
  return specifier.startsWith('.')
}

function workspaceOf(path: string): string {
  return path.split('/')[0] ?? ''
}

/** The folder of the workspace of ours that a specifier names. */
function ourWorkspace(specifier: string): string | undefined {
  return specifier.startsWith(SCOPE) ? specifier.slice(SCOPE.length).split('/')[0] : undefined
}

function packageOf(specifier: string): string {
  return specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/')
}

/** Each circle once, as the path around it. */
function circles(arrows: ReadonlyMap<string, readonly string[]>): readonly string[] {
  const found: string[] = []
  const done = new Set<string>()
  const walk = (node: string, trail: readonly string[]): void => {
    const start = trail.indexOf(node)
    if (start !== -1) found.push([...trail.slice(start), node].join(' -> '))
    if (start !== -1 || done.has(node)) return
    for (const next of new Set(arrows.get(node))) walk(next, [...trail, node])
    done.add(node)
  }
  for (const node of arrows.keys()) walk(node, [])
  return found
}
