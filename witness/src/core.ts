/**
 * The witness itself, for the simulation alone: everybody else reaches it through `client.ts`.
 * @module
 */

export { configSchema } from './config.ts'
export { initWitness } from './init.ts'
export { startWitness } from './witness.ts'
