/**
 * The signer cannot go on: something it needs is missing, damaged or open to others. The message names the file and
 * what to do about it, and nothing that the file holds.
 * @module
 */

export class SignerFault extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'SignerFault'
  }
}
