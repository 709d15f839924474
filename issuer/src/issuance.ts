/**
 * Where oidc-provider would sign, the broker is asked instead, so that each token is logged and countersigned before
 * it is signed, and no key is in this process. One method of each model that becomes a JWT is replaced; the provider's
 * own key store holds nothing that could sign (see `provider.ts`).
 * @module
 */

import { randomBytes } from 'node:crypto'
import type { JsonObject } from '@countersign/validator/json'
import type { Algorithm } from '@countersign/validator/jws'
import { errors, Provider } from 'oidc-provider'
import { type ClientCertificates, isCertificateMethod, refuseKeyOf } from './certificate.ts'
import type { AccessTokens } from './revocation.ts'

/** Has a token of this realm made. Rejects when the signer or the witness refuses or cannot be reached. */
export type Issue = (
  type: 'access' | 'id' | 'logout' | 'set',
  claims: JsonObject,
  algorithm?: Algorithm,
) => Promise<string>

export interface Issuance {
  readonly tenant: string
  readonly issue: Issue
  readonly accessTokens: AccessTokens
  /** Left out: no client has one. */
  readonly certificates: ClientCertificates | undefined
  /** Whether an ID token is one that we made, however old: see the validator's `hint.ts`. */
  readonly validateHint: (token: string, clientId: string) => { header: JsonObject; payload: JsonObject }
  /** Seconds since the epoch. */
  readonly now: () => number
}

type AccessToken = InstanceType<Provider['AccessToken']>
type ClientCredentials = InstanceType<Provider['ClientCredentials']>
type RefreshToken = InstanceType<Provider['RefreshToken']>
type IdToken = InstanceType<Provider['IdToken']>

const ID_TOKEN_SECONDS = 600
const LOGOUT_TOKEN_SECONDS = 120

/** Makes this provider's tokens come from the broker. Called once, before it answers anything. */
export function issueThroughBroker(provider: Provider, issuance: Issuance): void {
  const { tenant, issue, accessTokens, certificates, validateHint, now } = issuance

  /** RFC 9068. What is undefined does not reach the wire. */
  function accessClaims(token: AccessToken | ClientCredentials): JsonObject & { readonly exp: number } {
    refuseKeyOf(Provider.ctx && certificates?.of(Provider.ctx.req), token.jkt)
    const iat = now()
    return {
      iss: provider.issuer,
      sub: 'accountId' in token ? token.accountId : token.clientId,
      aud: token.aud as string,
      client_id: token.clientId,
      iat,
      exp: iat + token.expiration,
      jti: token.jti,
      scope: token.scope || undefined,
      tid: tenant,
      cnf: confirmationOf(token),
    }
  }

  Object.assign(provider.ClientCredentials.prototype, {
    generateTokenId,
    getValueAndPayload: async function (this: ClientCredentials) {
      return { value: await made(issue('access', accessClaims(this))) }
    },
  })

  Object.assign(provider.AccessToken.prototype, {
    generateTokenId,
    getValueAndPayload: async function (this: AccessToken) {
      const { RefreshToken, AuthorizationCode } = Provider.ctx?.oidc.entities ?? {}
      const { acr, amr, authTime } = RefreshToken ?? AuthorizationCode ?? {}
      const claims = { ...accessClaims(this), sid: this.sid, auth_time: authTime, acr, amr }
      // Remembered first: a token that nothing could revoke must not exist.
      await accessTokens.remember({ jti: this.jti, grantId: this.grantId, expiresAt: claims.exp })
      return { value: await made(issue('access', claims)) }
    },
  })

  // Bound like the access token for every client, not only for public ones: otherwise a refresh would be a way to get a
  // bearer token out of a bound one (T156, T157). Who signs in with certificates needs one for each refresh in any case, and
  // may come with the next one (RFC 8705, section 7.1).
  const save = provider.RefreshToken.prototype.save
  Object.assign(provider.RefreshToken.prototype, {
    save(this: RefreshToken) {
      const { jkt, 'x5t#S256': x5t } = Provider.ctx?.oidc.entities.AccessToken ?? {}
      if (jkt !== undefined) this.jkt ??= jkt
      const isSignedIn = isCertificateMethod(Provider.ctx?.oidc.client?.clientAuthMethod)
      if (x5t !== undefined && !isSignedIn) this['x5t#S256'] ??= x5t
      return save.call(this)
    },
  })

  Object.assign(provider.IdToken.prototype, {
    issue: async function (this: IdToken, { use }: { readonly use: string }) {
      const { client, available } = this
      const iat = now()
      const common = {
        ...((await this.payload()) as JsonObject),
        iss: provider.issuer,
        aud: client.clientId,
        tid: tenant,
        iat,
        jti: generateTokenId(),
      }
      const algorithm = client.idTokenSignedResponseAlg as Algorithm
      switch (use) {
        case 'idtoken': {
          const { auth_time, acr, amr } = available as JsonObject
          return made(issue('id', { ...common, exp: iat + ID_TOKEN_SECONDS, auth_time, acr, amr }, algorithm))
        }
        case 'logout':
          return made(issue('logout', { ...common, exp: iat + LOGOUT_TOKEN_SECONDS }, algorithm))
        default:
          throw new TypeError(`${use} tokens are not made here`)
      }
    },
  })
  Object.assign(provider.IdToken, {
    validate: async (token: string, client: { readonly clientId: string }) =>
      validateHint(token, client.clientId),
  })
}

/** What the token is bound to: the key of a DPoP proof or a certificate, and oidc-provider lets it be only one. */
function confirmationOf({ jkt, 'x5t#S256': x5t }: AccessToken | ClientCredentials): JsonObject | undefined {
  if (jkt !== undefined) return { jkt }
  return x5t === undefined ? undefined : { 'x5t#S256': x5t }
}

/** 128 bits: nobody finds a payload from its hash in the log. */
export function generateTokenId(): string {
  return randomBytes(16).toString('base64url')
}

/** Whatever went wrong behind the broker, a client learns that it may try again, and nothing else. */
export async function made(token: Promise<string>): Promise<string> {
  try {
    return await token
  } catch (cause) {
    const error = new errors.TemporarilyUnavailable('no token can be issued at the moment', { cause })
    throw Object.assign(error, { status: 503, statusCode: 503 })
  }
}
