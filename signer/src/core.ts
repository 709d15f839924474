/**
 * The signer itself, for the simulation alone: its broker reaches it through `client.ts`.
 * @module
 */

export { initSigner, openSigner, type Signer } from './signer.ts'
export { serveSigner } from './socket.ts'
