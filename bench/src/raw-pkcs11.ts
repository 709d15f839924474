/**
 * What a PKCS#11 module signs by itself: a P-256 key that it made, one C_SignInit and one C_Sign per signature, nothing
 * around them. A process of its own, since a module reads its environment.
 *
 *     raw-pkcs11.ts MODULE PIN-FILE
 *
 * @module
 */

import { hash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import pkcs11js from 'pkcs11js'

const P256 = Buffer.from('06082a8648ce3d030107', 'hex')

if (import.meta.main) serve(process.argv[2] ?? '', process.argv[3] ?? '')

function serve(modulePath: string, pinFile: string): void {
  const module = new pkcs11js.PKCS11()
  module.load(modulePath)
  module.C_Initialize()
  const [slot] = module.C_GetSlotList(true)
  const session = module.C_OpenSession(slot as Buffer, pkcs11js.CKF_SERIAL_SESSION | pkcs11js.CKF_RW_SESSION)
  module.C_Login(session, pkcs11js.CKU_USER, readFileSync(pinFile, 'utf8'))
  const { privateKey } = module.C_GenerateKeyPair(
    session,
    { mechanism: pkcs11js.CKM_EC_KEY_PAIR_GEN },
    [{ type: pkcs11js.CKA_EC_PARAMS, value: P256 }],
    [
      { type: pkcs11js.CKA_SENSITIVE, value: true },
      { type: pkcs11js.CKA_EXTRACTABLE, value: false },
      { type: pkcs11js.CKA_SIGN, value: true },
    ],
  )
  const digest = hash('sha256', 'what is signed', 'buffer')
  const signature = Buffer.alloc(64)
  process.on('message', (milliseconds: number) => {
    const startedAt = performance.now()
    let count = 0
    while (performance.now() - startedAt < milliseconds) {
      for (let i = 0; i < 64; i++) {
        module.C_SignInit(session, { mechanism: pkcs11js.CKM_ECDSA }, privateKey)
        module.C_Sign(session, digest, signature)
      }
      count += 64
    }
    process.send?.((count / (performance.now() - startedAt)) * 1000)
  })
  process.once('disconnect', () => process.exit(0))
  process.send?.('ready')
}
