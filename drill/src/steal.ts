/**
 * What a thief gets who has a keystore file and its passphrase: a private JWK, on standard output.
 *
 *     node drill/src/steal.ts --data DIR --realm REALM [--kid KID]      the realm's signing key; the oldest unless named
 *     node drill/src/steal.ts --data DIR --witness                      the key that the witness countersigns with
 *
 * It belongs to the attacker's toolbox: nothing of the product imports it, and no running process is asked.
 * @module
 */

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Decrypter } from 'age-encryption'

interface StolenJwk {
  readonly kty: string
  readonly kid?: string
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      data: { type: 'string' },
      realm: { type: 'string' },
      kid: { type: 'string' },
      witness: { type: 'boolean' },
    },
  })
  const { data, realm, kid } = values
  if (data === undefined) throw new Error('--data is missing')
  const stolen = values.witness ? await stealWitnessKey(data) : await stealSigningKey(data, realm ?? '', kid)
  process.stdout.write(`${JSON.stringify(stolen)}\n`)
}

export async function stealSigningKey(data: string, realm: string, kid?: string): Promise<StolenJwk> {
  const folder = join(data, 'signers', realm)
  const decrypter = new Decrypter()
  decrypter.addPassphrase((await readFile(join(folder, 'passphrase'), 'utf8')).trimEnd())
  const opened = await decrypter.decrypt(await readFile(join(folder, 'keystore.age')), 'text')
  const { keys } = JSON.parse(opened) as { readonly keys: readonly { readonly jwk: StolenJwk }[] }
  const found = kid === undefined ? keys[0] : keys.find(({ jwk }) => jwk.kid === kid)
  if (found === undefined) throw new Error(`the keystore of ${realm} holds no such key`)
  return found.jwk
}

export async function stealWitnessKey(data: string): Promise<StolenJwk> {
  const identity = await readFile(join(data, 'witness', 'identity.json'), 'utf8')
  return (JSON.parse(identity) as { readonly receipt: StolenJwk }).receipt
}
