/**
 * What others write for an issuer: its configuration, its secrets, its clients and people.
 * @module
 */

export type { IssuerConfig, Secrets, Seed, SeedClient, SeedPerson } from './config.ts'
export { configSchema, findContradiction, seedSchema } from './config.ts'
