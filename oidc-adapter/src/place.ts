/**
 * Where a provider stands in the charter: whose tokens it may issue follows from its issuer, so nothing is configured that
 * could be configured wrong. Pure.
 * @module
 */

import type { Charter } from '@countersign/validator/charter'
import { fitsIssuer, tenantFor } from '@countersign/validator/scope'

export interface Place {
  readonly realm: string
  readonly tenant: string
  /** The charter's issuer, in which `{tenantid}` may stand. */
  readonly template: string
}

/** Throws when the charter does not name the issuer, or leaves its tenant open and nobody says which. */
export function findPlace(issuer: string, charter: Charter | undefined, wanted: string | undefined): Place {
  for (const [realm, { issuers, tenants }] of charter?.realms ?? []) {
    const template = issuers.find((each) => fitsIssuer(each, issuer))
    if (template === undefined) continue
    const tenant = wanted ?? tenantFor({ issuer: template, tenants }, { issuer, tenant: undefined })
    if (tenant === undefined)
      throw new Error(`${realm} has several tenants: say which one ${issuer} is, in \`tenant\``)
    if (!tenants.includes(tenant)) throw new Error(`the charter names no tenant ${tenant} of ${realm}`)
    return { realm, tenant, template }
  }
  throw new Error(`the charter names no realm with the issuer ${issuer}`)
}
