/**
 * What a signer tries before it serves: hashes and signatures with known answers, and each of its keys on its own. A
 * machine or a library that gets these wrong must sign nothing.
 * @module
 */

import { hash } from 'node:crypto'
import { decode } from '@countersign/validator/base64url'
import { importPublicJwk, verifySignature } from '@countersign/validator/jws'
import { SignerFault } from './fault.ts'
import type { Keystore, UsableKey } from './keystore.ts'

/** Throws `SignerFault` when anything comes out wrong. */
export async function testSelf({ identity, keys }: Pick<Keystore, 'identity' | 'keys'>): Promise<void> {
  // FIPS 180-4, the example of one block.
  if (hash('sha256', 'abc') !== 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad')
    throw new SignerFault('SHA-256 gives a wrong answer here')
  const { key, input, signature } = known
  if (!verifySignature('ES256', importPublicJwk(key).key, input, decode(signature)))
    throw new SignerFault('a known ES256 signature does not verify here')
  if (verifySignature('ES256', importPublicJwk(key).key, `${input}.`, decode(signature)))
    throw new SignerFault('an ES256 signature over something else verifies here')
  for (const each of [identity, ...keys]) await testKey(each)
}

/** Throws `SignerFault` when the key does not verify its own signature. */
export async function testKey({ kid, jwk, algorithm, sign }: UsableKey): Promise<void> {
  const { key } = importPublicJwk(jwk)
  // Not a JWS: it has no dot, so that it can be taken for no token.
  const input = 'countersign signer self-test'
  if (!verifySignature(algorithm, key, input, await sign(input)))
    throw new SignerFault(`the key ${kid} does not verify its own signature`)
}

/** RFC 7515, appendix A.3. */
const known = {
  key: {
    kty: 'EC',
    crv: 'P-256',
    x: 'f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU',
    y: 'x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0',
  },
  input:
    'eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ',
  signature: 'DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q',
}
