/**
 * Stands for `age-encryption`, whose scrypt costs by design what a hundred steps of a simulation do. Nothing is encrypted:
 * the simulation is not about what a passphrase withstands.
 * @module
 */

export class Encrypter {
  #passphrase = ''

  setPassphrase(passphrase: string): void {
    this.#passphrase = passphrase
  }

  setScryptWorkFactor(): void {}

  encrypt(content: string): Promise<Uint8Array> {
    return Promise.resolve(Buffer.from(`${this.#passphrase}\n${content}`))
  }
}

export class Decrypter {
  readonly #passphrases: string[] = []

  addPassphrase(passphrase: string): void {
    this.#passphrases.push(passphrase)
  }

  async decrypt(bytes: Uint8Array, _as: 'text'): Promise<string> {
    const text = Buffer.from(bytes).toString()
    const end = text.indexOf('\n')
    if (!this.#passphrases.includes(text.slice(0, end))) throw new Error('no passphrase opens this')
    return text.slice(end + 1)
  }
}
