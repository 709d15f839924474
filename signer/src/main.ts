/**
 * A realm's signer as a process.
 *
 *     main.ts init --keystore FILE --realm REALM (--passphrase-file FILE | --passphrase-fd N)     prints {"jwk": …}
 *     main.ts --keystore FILE --realm REALM --trust-anchor FILE (--passphrase-file FILE | --passphrase-fd N)
 *             [--signatures-per-second N]                                     serves descriptor 3; see confine.ts
 * @module
 */

import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { parseTrustAnchor } from '@countersign/validator/charter'
import { SignerFault } from './fault.ts'
import { readPassphrase } from './passphrase.ts'
import { initSigner, openSigner } from './signer.ts'
import { serveSigner } from './socket.ts'

const SIGNATURES_PER_SECOND_MAX = 20_000

try {
  await run()
} catch (error) {
  // Messages of our own say what to mend. Any other may quote what it choked on.
  const { name, message } = error as Error
  complain(error instanceof SignerFault ? message : `could not start (${name})`)
  process.exitCode = 1
}

async function run(): Promise<void> {
  const text = { type: 'string' } as const
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      keystore: text,
      realm: text,
      'trust-anchor': text,
      'passphrase-file': text,
      'passphrase-fd': text,
      'signatures-per-second': text,
    },
  })
  const keystoreFile = required('--keystore', values.keystore)
  const realm = required('--realm', values.realm)
  const passphrase = readPassphrase(
    values['passphrase-file'] ??
      Number(required('--passphrase-file or --passphrase-fd', values['passphrase-fd'])),
  )
  if (positionals[0] === 'init') {
    const jwk = await initSigner(keystoreFile, passphrase, realm)
    process.stdout.write(`${JSON.stringify({ jwk })}\n`)
    return
  }
  const anchorFile = required('--trust-anchor', values['trust-anchor'])
  // A key press meant for the whole process group ends the broker, which then ends this process in order.
  process.on('SIGINT', () => {})
  const signer = await openSigner({
    keystoreFile,
    passphrase,
    realm,
    trustAnchor: parseTrustAnchor(JSON.parse(readFileSync(anchorFile, 'utf8'))),
    signaturesPerSecondMax: Number(values['signatures-per-second'] ?? SIGNATURES_PER_SECOND_MAX),
  })
  const stop = async (): Promise<void> => {
    await signer.stop()
    process.exit(0)
  }
  process.once('SIGTERM', stop)
  await serveSigner(signer, ({ message }) => complain(message))
  await stop()
}

function required(name: string, value: string | undefined): string {
  if (value === undefined) throw new SignerFault(`${name} is missing`)
  return value
}

function complain(message: string): void {
  process.stderr.write(`${JSON.stringify({ level: 50, time: Date.now(), name: 'signer', msg: message })}\n`)
}
