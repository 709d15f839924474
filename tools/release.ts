/**
 * Makes the published package of the validator, the one thing of ours that is compiled: Node strips no types under a real
 * `node_modules`. What is compiled is what the entries reach, so that nothing else can be imported or even read there.
 *
 *     npm run release                      validator/dist: the package as a folder, and as the archive that npm would publish
 *     npm run release -- --repository URL  the same, naming where it was built from, which provenance is held against
 *
 * How it is published: docs/releasing.md.
 * @module
 */

import { execFileSync } from 'node:child_process'
import { copyFileSync, globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { root } from './source.ts'

/** What users import, by its path in `exports`: the module of validator/src that it is. */
export const entries: Readonly<Record<string, string>> = {
  '.': 'index',
  './connect': 'connect',
  './follow': 'follow',
  './guard': 'guard',
  './edge': 'edge',
  './bulk': 'bulk',
  './express': 'express',
  './fastify': 'fastify',
  './hono': 'hono',
  './koa': 'koa',
  './node': 'node',
  './websocket': 'websocket',
  './sse': 'sse',
  './dpop': 'dpop',
  './nonces': 'nonces',
  './replay': 'replay',
  './mtls': 'mtls',
  './issuers': 'issuers',
  './ssf': 'ssf',
  // Only a validator makes a ValidatedToken, so whoever tests a handler needs somebody who issues.
  './testing': 'testing',
}

/** Modules that no import names: what `#platform` is where Node is not. */
const alternatives = ['platform-web']

/** The oldest Node that the package runs on: the first with `crypto.hash`. Tested on it where the machine has one. */
export const NODE_OLDEST = '20.12'

/** Where the compiled modules lie in the package. */
const MODULES = 'lib'

export interface Built {
  /** The package as npm would unpack it. */
  readonly folder: string
  /** Paths in it, in order. */
  readonly files: readonly string[]
}

/** Compiles the package into `folder`, which is made anew. Throws where the compiler finds anything. */
export function buildPackage(folder: string, repository?: string): Built {
  rmSync(folder, { recursive: true, force: true })
  compile(folder)
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(manifest(repository), null, 2)}\n`)
  writeFileSync(join(folder, 'README.md'), readme(repository))
  for (const file of ['LICENSE', 'CHANGELOG.md']) copyFileSync(join(root, file), join(folder, file))
  return { folder, files: globSync('**/*.*', { cwd: folder }).concat('LICENSE').sort() }
}

/** Packs a built package as `npm publish` would, into `folder`; gives the archive's path. */
export function packPackage(built: Built, folder: string): string {
  mkdirSync(folder, { recursive: true })
  const [packed] = JSON.parse(npm(built.folder, 'pack', '--json', '--pack-destination', folder)) as readonly {
    readonly filename: string
  }[]
  if (packed === undefined) throw new Error('npm packed nothing')
  return join(folder, packed.filename)
}

function npm(folder: string, ...args: readonly string[]): string {
  return execFileSync('npm', [...args], {
    cwd: folder,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  })
}

/** What the README links is in the repository, where that is known, and is else named by its path. */
function readme(repository: string | undefined): string {
  const text = readFileSync(join(root, 'validator/release/README.md'), 'utf8')
  return text.replace(/\[([^\]]+)\]\(\.\.\/\.\.\/([^)]+)\)/g, (_, words: string, path: string) => {
    if (repository === undefined) return `${words} (\`${path}\`)`
    return `[${words}](${repository.replace(/^git\+|\.git$/g, '')}/blob/HEAD/${path})`
  })
}

function compile(folder: string): void {
  const project = join(folder, 'tsconfig.json')
  mkdirSync(folder, { recursive: true })
  writeFileSync(project, JSON.stringify(compilerOptions(folder)))
  try {
    execFileSync(join(root, 'node_modules/.bin/tsc'), ['--project', project], { encoding: 'utf8' })
  } catch (error) {
    throw new Error(`the package does not compile:\n${(error as { readonly stdout?: string }).stdout}`)
  }
  rmSync(project)
  for (const file of globSync(`${MODULES}/*.d.ts`, { cwd: folder })) {
    // The compiler rewrites these in the modules alone.
    const text = readFileSync(join(folder, file), 'utf8')
    writeFileSync(join(folder, file), text.replaceAll(/(['"]\.\.?\/[\w./-]+)\.ts(?=['"])/g, '$1.js'))
  }
}

function compilerOptions(folder: string): object {
  const sources = join(root, 'validator/src')
  return {
    extends: join(root, 'tsconfig.json'),
    compilerOptions: {
      noEmit: false,
      // What the oldest Node lacks must not compile.
      target: 'es2023',
      lib: ['es2023', 'es2024.string'],
      rewriteRelativeImportExtensions: true,
      declaration: true,
      sourceMap: true,
      inlineSources: true,
      skipLibCheck: false,
      typeRoots: [join(root, 'node_modules/@types')],
      rootDir: sources,
      outDir: join(folder, MODULES),
    },
    include: [],
    files: [...Object.values(entries), ...alternatives].map((name) => join(sources, `${name}.ts`)),
  }
}

function manifest(repository: string | undefined): object {
  const workspace = JSON.parse(readFileSync(join(root, 'validator/package.json'), 'utf8'))
  const { name, version, description, license, imports, peerDependencies, peerDependenciesMeta } = workspace
  return {
    name,
    version,
    description,
    keywords: ['jwt', 'validation', 'oauth', 'access token', 'dpop', 'transparency log', 'key revocation'],
    license,
    ...(repository !== undefined && { repository: { type: 'git', url: repository, directory: 'validator' } }),
    type: 'module',
    sideEffects: false,
    imports: compiled(imports),
    engines: { node: `>=${NODE_OLDEST}` },
    exports: Object.fromEntries(
      Object.entries(entries).map(([path, module]) => [
        path,
        { types: `./${MODULES}/${module}.d.ts`, default: `./${MODULES}/${module}.js` },
      ]),
    ),
    files: [MODULES, 'CHANGELOG.md'],
    peerDependencies,
    peerDependenciesMeta,
    publishConfig: { access: 'public', provenance: true },
  }
}

/** Modules by their conditions, as they are named in the package. */
function compiled(value: string | Readonly<Record<string, string>>): unknown {
  if (typeof value === 'string') return value.replace(/^\.\/src\/(.*)\.ts$/, `./${MODULES}/$1.js`)
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, compiled(inner)]))
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { repository: { type: 'string' } } })
  const dist = join(root, 'validator/dist')
  const built = buildPackage(join(dist, 'package'), values.repository)
  const archive = packPackage(built, dist)
  console.log(`${built.files.length} files in ${built.folder}\n${archive}`)
}
