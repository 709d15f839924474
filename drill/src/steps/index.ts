import {
  borrowedReceipt,
  bothKeys,
  crossTenantActor,
  foreignRealm,
  headerTricks,
  inactiveKey,
  neverIssued,
} from './forgeries.ts'
import { killedPaths } from './kill.ts'
import { foreignClaims, renewForged } from './services.ts'
import type { Step } from './step.ts'
import { blockByHand, blockByItself, retiredKey, rollback } from './trust.ts'

/** The order of the incident: first what was done, then what would have been tried next, then the answers to it. */
export const steps: readonly Step[] = [
  inactiveKey,
  foreignRealm,
  neverIssued,
  borrowedReceipt,
  renewForged,
  retiredKey,
  headerTricks,
  crossTenantActor,
  foreignClaims,
  bothKeys,
  blockByHand,
  blockByItself,
  killedPaths,
  rollback,
]
