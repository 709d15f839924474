/**
 * What of a provider is replaced, and nothing else. oidc-provider goes on putting each token together, with all that the
 * application has configured (claims, audiences, lifetimes, pairwise subjects, sender constraints); then the claims of what
 * it made are signed by the realm's signer, and its own signature is thrown away. Opaque tokens stay as they are.
 * @module
 */

import { randomBytes } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import { LineError } from '@countersign/lines'
import { decode } from '@countersign/validator/base64url'
import { type JsonObject, parseObject } from '@countersign/validator/json'
import type { KeySet } from '@countersign/validator/key-set'
import { KEY_SET_SECONDS } from '@countersign/validator/key-set'
import { errors, type Provider } from 'oidc-provider'
import type { Issue, IssuedType } from './broker.ts'

export interface Issuance {
  readonly tenant: string
  readonly issue: Issue
  /** Whether an ID token is one that was issued here, however old. Throws when it is not. */
  readonly validateHint: (token: string, clientId: string) => { header: JsonObject; payload: JsonObject }
}

/** As oidc-provider has them; its types do not say all of it. */
interface AccessTokenModel {
  readonly prototype: {
    generateTokenId(this: FormattedToken): string
    getValueAndPayload(this: FormattedToken): Promise<{ readonly value: string; readonly payload?: object }>
  }
}
interface FormattedToken {
  readonly format?: 'jwt' | 'opaque'
}
interface IdTokenModel {
  readonly prototype: {
    issue(this: IdTokenInstance, options: IssueOptions): Promise<string>
  }
  validate(token: string, client: { readonly clientId: string }): Promise<unknown>
}
interface IdTokenInstance {
  readonly client: Readonly<Record<string, unknown>>
}
interface IssueOptions {
  readonly use: 'idtoken' | 'logout' | 'userinfo' | 'introspection' | 'authorization'
}

/** 128 bits, the shortest name that a signer takes: nobody finds a payload from its hash in the log. */
const TOKEN_ID_BYTES = 16
const TOKEN_ID_CHARACTERS_MIN = 22

/** Makes the provider's tokens come from the broker. Called once, before it answers anything. */
export function issueThroughBroker(provider: Provider, { tenant, issue, validateHint }: Issuance): void {
  async function resign(type: IssuedType, made: string): Promise<string> {
    const { alg, claims } = readMade(made)
    const wanted = { tid: tenant, ...claims }
    try {
      return checkAnswer(await issue(type, wanted, alg), wanted)
    } catch (cause) {
      if (cause instanceof LineError && cause.retryable) throw tryAgain(cause)
      throw new Error(`no token was made: ${(cause as Error).message}`, { cause })
    }
  }

  for (const model of [provider.AccessToken, provider.ClientCredentials] as unknown as AccessTokenModel[]) {
    const { generateTokenId, getValueAndPayload } = model.prototype
    Object.assign(model.prototype, {
      generateTokenId(this: FormattedToken): string {
        // Called either way: it is where the format is decided.
        const id = generateTokenId.call(this)
        return this.format === 'jwt' ? newTokenId() : id
      },
      async getValueAndPayload(this: FormattedToken) {
        const made = await getValueAndPayload.call(this)
        return this.format === 'jwt' ? { value: await resign('access', made.value) } : made
      },
    })
  }

  const idToken = provider.IdToken as unknown as IdTokenModel
  const { issue: issueLocally } = idToken.prototype
  Object.assign(idToken.prototype, {
    async issue(this: IdTokenInstance, options: IssueOptions): Promise<string> {
      const type = typeOf(options, this.client)
      const made = await issueLocally.call(this, options)
      return type === undefined ? made : resign(type, made)
    },
  })
  Object.assign(idToken, {
    validate: async (token: string, client: { readonly clientId: string }) =>
      validateHint(token, client.clientId),
  })
}

/** In place of the provider's own, whose keys sign nothing any more. */
export function serveKeySet(provider: Provider, keySet: () => KeySet): void {
  provider.use(async (ctx, next) => {
    await next()
    if (ctx['oidc']?.route !== 'jwks' || ctx.status !== 200) return
    ctx.set('cache-control', `public, max-age=${KEY_SET_SECONDS}`)
    ctx.body = keySet()
    ctx.type = 'application/jwk-set+json'
  })
}

/**
 * What kind of token of ours it is; undefined for what a client's own secret signs and no key of ours. Throws for what only the
 * provider's own key could sign: nobody could verify it, since no key set names that key.
 */
function typeOf({ use }: IssueOptions, client: IdTokenInstance['client']): IssuedType | undefined {
  const { algorithm, encryption } = members[use]
  const isSymmetric = String(client[algorithm]).startsWith('HS')
  switch (use) {
    case 'idtoken':
    case 'logout':
      if (isSymmetric) throw unsupported(`${use} tokens signed with a client's secret`)
      if (client[encryption] !== undefined) throw unsupported(`encrypted ${use} tokens`)
      return use === 'idtoken' ? 'id' : 'logout'
    case 'userinfo':
    case 'introspection':
    case 'authorization':
      if (!isSymmetric) throw unsupported(`signed ${use} responses`)
      return undefined
    default:
      throw use satisfies never
  }
}

/** Where a client says how it wants each. */
const members = {
  idtoken: { algorithm: 'idTokenSignedResponseAlg', encryption: 'idTokenEncryptedResponseAlg' },
  logout: { algorithm: 'idTokenSignedResponseAlg', encryption: 'idTokenEncryptedResponseAlg' },
  userinfo: { algorithm: 'userinfoSignedResponseAlg', encryption: 'userinfoEncryptedResponseAlg' },
  introspection: {
    algorithm: 'introspectionSignedResponseAlg',
    encryption: 'introspectionEncryptedResponseAlg',
  },
  authorization: {
    algorithm: 'authorizationSignedResponseAlg',
    encryption: 'authorizationEncryptedResponseAlg',
  },
} as const

function unsupported(what: string): Error {
  return new Error(`${what} are not made here: Countersign signs access, ID and logout tokens`)
}

/** The claims of a token that the provider has just made. A name too short for a signer is left to the signer. */
function readMade(token: string): { readonly alg: string; readonly claims: JsonObject } {
  const [header = '', payload = '', signature, more] = token.split('.')
  if (signature === undefined || more !== undefined) throw unsupported('encrypted access tokens')
  const { jti, ...claims } = parseObject(decode(payload))
  const isLong = typeof jti === 'string' && jti.length >= TOKEN_ID_CHARACTERS_MIN
  return { alg: String(parseObject(decode(header))['alg']), claims: isLong ? { ...claims, jti } : claims }
}

/** A broker that mixes up its answers would hand one person's token to another. */
function checkAnswer(token: string, wanted: JsonObject): string {
  const { jti, ...claims } = parseObject(decode(token.split('.')[1] ?? ''))
  const { jti: wantedId = jti, ...others } = wanted
  if (jti === wantedId && isDeepStrictEqual(claims, others)) return token
  throw new Error('the broker answered with a token of other claims')
}

/** Whatever is away behind the broker, a client learns that it may try again, and nothing else. */
function tryAgain(cause: Error): Error {
  const error = new errors.TemporarilyUnavailable('no token can be issued at the moment', { cause })
  return Object.assign(error, { status: 503, statusCode: 503 })
}

function newTokenId(): string {
  return randomBytes(TOKEN_ID_BYTES).toString('base64url')
}
