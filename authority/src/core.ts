/**
 * The authority itself, for the simulation alone: everybody else reaches it through `client.ts`.
 * @module
 */

export { startAuthority } from './authority.ts'
export { configSchema } from './config.ts'
export { initAuthority } from './init.ts'
