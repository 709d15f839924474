/**
 * Goal: the arrows between the rooms of this house stay as docs/ARCHITECTURE.md draws them. Method: read the imports of
 * every module; and since a rule that finds nothing may be blind, plant what breaks it in a small house and see it found.
 */

import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { readModule, readSources, root } from '../tools/source.ts'
import { type House, type Manifest, rules } from './architecture.ts'

const workspaces: readonly string[] = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).workspaces

/** For each rule, modules that break it and nothing else, with the sentence that must come out. */
const planted: Readonly<Record<string, { house: House; found: RegExp }>> = {
  'each import is declared by its nearest manifest': {
    house: house({ 'validator/src/jws.ts': `import type { JWK } from 'jose'` }),
    found: /validator\/src\/jws\.ts imports jose/,
  },
  'built-in modules are imported by their node: names': {
    house: house({ 'lines/src/lines.ts': `import { once } from 'events'` }),
    found: /lines\.ts imports events/,
  },
  'no path leads into another workspace': {
    house: house({ 'gateway/src/auth.ts': `import { sign } from '../../signer/src/sign.ts'` }),
    found: /auth\.ts imports signer\/src\/sign\.ts/,
  },
  'the validator imports Node and itself only, besides the types of the frameworks that it adapts to': {
    house: house(
      {
        'validator/src/express.ts': `import type { Request } from 'express'`,
        'validator/src/koa.ts': `import { Koa } from 'koa'`,
      },
      {},
      { validator: ['express', 'koa'] },
    ),
    found: /koa\.ts imports koa/,
  },
  'the libraries import nothing of ours': {
    house: house({ 'service/src/service.ts': `export * from '@countersign/validator/jws'` }),
    found: /service\.ts imports @countersign\/validator\/jws/,
  },
  'lines has no dependency': {
    house: house({}, { lines: ['zod'] }),
    found: /lines depends on zod/,
  },
  'the signer depends on four packages': {
    house: house({}, { signer: ['@countersign/lines', '@countersign/validator', 'age-encryption', 'pino'] }),
    found: /the signer depends on .*pino/,
  },
  'a service is imported by its client, and its core by the simulation alone': {
    house: house({
      'broker/src/broker.ts': `import { openSigner } from '@countersign/signer/core'`,
      'simulation/src/system.ts': `import { openSigner } from '@countersign/signer/core'`,
    }),
    found: /broker\.ts imports @countersign\/signer\/core/,
  },
  'nobody imports drill, bench or simulation, and only they import the cli': {
    house: house({
      'sentinel/src/sentinel.ts': `import { steal } from '@countersign/drill/client'`,
      'bench/src/grants.ts': `import { startSystem } from '@countersign/cli/client'`,
    }),
    found: /sentinel\.ts imports @countersign\/drill/,
  },
  'no modules import each other in a circle': {
    house: house({
      'witness/src/a.ts': `import './b.ts'`,
      'witness/src/b.ts': `import { c } from './c.ts'\nimport type { A } from './a.ts'`,
      'witness/src/c.ts': `export { a } from './a.ts'`,
    }),
    found: /witness\/src\/a\.ts -> witness\/src\/b\.ts -> witness\/src\/c\.ts -> witness\/src\/a\.ts/,
  },
  'no workspaces import each other in a circle': {
    house: house({
      'broker/src/broker.ts': `import '@countersign/authority/client'`,
      'authority/src/keys.ts': `import '@countersign/broker/client'`,
    }),
    found: /broker -> authority -> broker/,
  },
  'the environment is read by service and cli only': {
    house: house({ 'signer/src/keystore.ts': `export const passphrase = () => process['env'].PASSPHRASE` }),
    found: /keystore\.ts reads the environment/,
  },
  'only main.ts acts on import': {
    house: house({
      'issuer/src/pages.ts': `export const page = () => ''\nregister(page)`,
      'issuer/src/main.ts': `await page()`,
      'drill/src/steal.ts': `if (import.meta.main) await steal()`,
    }),
    found: /^issuer\/src\/pages\.ts does something when it is imported$/,
  },
}

const real = readHouse()

for (const [name, rule] of Object.entries(rules)) {
  test(`architecture: ${name}`, () => {
    assert.deepEqual(rule(real), [])
  })
  test(`architecture: what breaks "${name}" is found`, () => {
    const plant = planted[name]
    assert.ok(plant, 'a rule that was never seen failing proves nothing')
    const found = rule(plant.house)
    assert.equal(found.length, 1, found.join('\n'))
    assert.match(found[0] ?? '', plant.found)
  })
}

test('architecture: every module was read', () => {
  for (const workspace of workspaces)
    assert.ok(
      real.modules.some(({ path }) => path.startsWith(`${workspace}/src/`)),
      `${workspace} has no module`,
    )
})

test('architecture: each workspace says in a README what it may and may not do', () => {
  assert.deepEqual(
    workspaces.filter((workspace) => !existsSync(join(root, workspace, 'README.md'))),
    [],
  )
})

test('architecture: the lock file holds what the manifests ask for', () => {
  // `npm ci` compares versions only: a command that a manifest adds and the lock does not know is never linked.
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'))
  const asked = ({ dependencies = {}, devDependencies = {}, bin = {} }) => [
    dependencies,
    devDependencies,
    Object.keys(bin),
  ]
  for (const folder of ['', ...workspaces]) {
    const manifest = JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8'))
    const why = `npm install --package-lock-only would change ${folder || 'the root'}`
    assert.deepEqual(asked(packages[folder]), asked(manifest), why)
  }
})

test('T238: each package is pinned by its hash, and none runs a script at install that was not allowed to', () => {
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'))
  const { allowScripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const installed = Object.entries<Record<string, unknown>>(packages).filter(
    ([path, { link }]) => path.startsWith('node_modules/') && link !== true,
  )
  assert.deepEqual(
    installed.filter(([, { integrity }]) => !/^sha512-/.test(String(integrity))),
    [],
  )
  const scripted = installed.filter(([, { hasInstallScript }]) => hasInstallScript === true)
  assert.deepEqual(
    scripted.map(([path]) => path.slice('node_modules/'.length)),
    Object.keys(allowScripts),
  )
})

function readHouse(): House {
  const sources = readSources('*/src/**/*.ts', 'test/**/*.ts', 'tools/**/*.ts', 'spec/**/*.ts')
  return {
    modules: [...sources].map(([path, text]) => readModule(path, text)),
    manifests: new Map(['.', ...workspaces].map((folder) => [folder, readManifest(folder)])),
  }
}

function readManifest(folder: string): Manifest {
  const manifest = JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8'))
  return {
    name: manifest.name,
    dependencies: Object.keys(manifest.dependencies ?? {}),
    devDependencies: Object.keys(manifest.devDependencies ?? {}),
    peerDependencies: Object.keys(manifest.peerDependencies ?? {}),
  }
}

/** A small house of the modules given; a workspace depends on what `dependencies` says, or on what it imports of ours. */
function house(
  sources: Readonly<Record<string, string>>,
  dependencies: Readonly<Record<string, readonly string[]>> = {},
  peerDependencies: Readonly<Record<string, readonly string[]>> = {},
): House {
  const modules = Object.entries(sources).map(([path, text]) => readModule(path, text))
  const folders = [...modules.map(({ path }) => path.split('/')[0] ?? ''), ...Object.keys(dependencies)]
  const manifests = folders.map((folder): [string, Manifest] => [
    folder,
    {
      name: `@countersign/${folder}`,
      dependencies: dependencies[folder] ?? [],
      devDependencies: [],
      peerDependencies: peerDependencies[folder] ?? [],
    },
  ])
  return { modules, manifests: new Map(manifests) }
}
