/**
 * A realm's signer as a process.
 *
 *     main.ts init KEYSTORE               makes it, prints {"jwk": …}
 *     main.ts show KEYSTORE               prints {"jwk", "protection", "keys"}
 *     main.ts destroy KEYSTORE            destroys its keys for good, prints {"left": 0}
 *     main.ts KEYSTORE --trust-anchor FILE [--signatures-per-second N]        serves descriptor 3; see confine.ts
 *
 * where KEYSTORE is --realm REALM (--passphrase-file FILE | --passphrase-fd N) and either --keystore FILE or
 * --keystore pkcs11:… --folder DIR; then the file holds the PIN.
 * @module
 */

import { readFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { parseArgs } from 'node:util'
import { parseTrustAnchor } from '@countersign/validator/charter'
import { SignerFault } from './fault.ts'
import { type KeystorePlace, openKeystore } from './keystores.ts'
import { readPassphrase, readPin } from './passphrase.ts'
import { destroySigner, initSigner, openSigner } from './signer.ts'
import { serveSigner } from './socket.ts'
import { isTokenUri } from './token-uri.ts'

const SIGNATURES_PER_SECOND_MAX = '20000'

try {
  await run()
} catch (error) {
  // Messages of our own, and those about options, say what to mend. Any other may quote what it choked on.
  const { name, message, code } = error as NodeJS.ErrnoException
  const isPlain = error instanceof SignerFault || code?.startsWith('ERR_PARSE_ARGS_')
  complain(isPlain ? message : `could not start (${name})`)
  process.exitCode = 1
}

async function run(): Promise<void> {
  const text = { type: 'string' } as const
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      keystore: text,
      folder: text,
      realm: text,
      'trust-anchor': text,
      'passphrase-file': text,
      'passphrase-fd': text,
      'signatures-per-second': text,
    },
  })
  // Such as the name of one key, where all would be destroyed.
  if (positionals.length > 1) throw new SignerFault(`${positionals[0]} takes options alone`)
  const keystore = required('--keystore', values.keystore)
  const isToken = isTokenUri(keystore)
  const source =
    values['passphrase-file'] ??
    readNumber('--passphrase-fd', required('--passphrase-file or --passphrase-fd', values['passphrase-fd']))
  const place = {
    keystore,
    folder: isToken ? required('--folder', values.folder) : dirname(keystore),
    realm: required('--realm', values.realm),
    secret: isToken ? readPin(source) : readPassphrase(source),
  }
  switch (positionals[0]) {
    case undefined:
      return serve(place, values)
    case 'init':
      return print({ jwk: await initSigner(place) })
    case 'show':
      return show(place)
    case 'destroy':
      return print({ left: await destroySigner(place) })
    default:
      throw new SignerFault('there is init, show, destroy and nothing else')
  }
}

async function serve(
  place: KeystorePlace,
  values: { readonly 'trust-anchor'?: string; readonly 'signatures-per-second'?: string },
): Promise<void> {
  const anchorFile = required('--trust-anchor', values['trust-anchor'])
  // A key press meant for the whole process group ends the broker, which then ends this process in order.
  process.on('SIGINT', () => {})
  const signer = await openSigner({
    ...place,
    trustAnchor: parseTrustAnchor(JSON.parse(readFileSync(anchorFile, 'utf8'))),
    signaturesPerSecondMax: readNumber(
      '--signatures-per-second',
      values['signatures-per-second'] ?? SIGNATURES_PER_SECOND_MAX,
    ),
  })
  const stop = async (): Promise<void> => {
    await signer.stop()
    process.exit(0)
  }
  process.once('SIGTERM', stop)
  await serveSigner(signer, ({ message }) => complain(message))
  await stop()
}

async function show(place: KeystorePlace): Promise<void> {
  const keystore = await openKeystore(place)
  const { identity, protection, keys } = keystore
  print({ jwk: identity.jwk, protection, keys: keys.map(({ kid }) => kid) })
  await keystore.close()
}

function print(answer: object): void {
  process.stdout.write(`${JSON.stringify(answer)}\n`)
}

function required(name: string, value: string | undefined): string {
  if (value === undefined) throw new SignerFault(`${name} is missing`)
  return value
}

function readNumber(name: string, text: string): number {
  if (!/^[0-9]{1,9}$/.test(text)) throw new SignerFault(`${name} takes a number`)
  return Number(text)
}

function complain(message: string): void {
  process.stderr.write(`${JSON.stringify({ level: 50, time: Date.now(), name: 'signer', msg: message })}\n`)
}
