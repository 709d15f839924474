/**
 * What the log stores for one token: no personal data, 90 bytes.
 * @module
 */

/** Written into the entry as the number that stands here. */
export const tokenTypes = { access: 1, id: 2, logout: 3, set: 4, manifest: 16 } as const
export type TokenType = keyof typeof tokenTypes

/** `typ` of the protected header, by token type. RFC 9068, OpenID Connect Core, Back-Channel Logout, RFC 8417. */
export const headerTypes: Readonly<Record<TokenType, string>> = {
  access: 'at+jwt',
  id: 'JWT',
  logout: 'logout+jwt',
  set: 'secevent+jwt',
  manifest: 'key-manifest+jwt',
}

export interface Entry {
  readonly tokenType: TokenType
  /** RFC 7638, SHA-256, 32 bytes: the decoded `kid`. */
  readonly keyThumbprint: Uint8Array
  /** Seconds since the epoch. */
  readonly issuedAt: number
  readonly expiresAt: number
  /** Counts up by one per key inside the signer. */
  readonly serial: number
  /** SHA-256 over the ASCII payload segment of the token. */
  readonly payloadSha256: Uint8Array
}
