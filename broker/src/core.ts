/**
 * The broker itself, for the simulation alone: everybody else reaches it through `client.ts`.
 * @module
 */

export { startBroker } from './broker.ts'
export { configSchema } from './config.ts'
