/**
 * SHA-256 (FIPS 180-4) for runtimes whose own is asynchronous: an inclusion path, the name of a key and a passkey's challenge are
 * hashed in the middle of what is decided synchronously.
 * @module
 */

/** The message is read in blocks of 64 bytes, the last of which end in a one bit, zeros, and the length in bits. */
export function hashBytes(message: Uint8Array): Uint8Array {
  const state = Uint32Array.from(initialState)
  const whole = message.length - (message.length % BLOCK_BYTES)
  const { buffer, byteOffset } = message
  compress(state, new DataView(buffer, byteOffset, whole))
  const rest = new Uint8Array(message.length - whole < BLOCK_BYTES - 8 ? BLOCK_BYTES : 2 * BLOCK_BYTES)
  rest.set(message.subarray(whole))
  rest[message.length - whole] = 0x80
  const end = new DataView(rest.buffer)
  end.setUint32(rest.length - 8, Math.floor(message.length / 2 ** 29))
  end.setUint32(rest.length - 4, message.length << 3)
  compress(state, end)
  const digest = new DataView(new ArrayBuffer(32))
  for (const [at, word] of state.entries()) digest.setUint32(4 * at, word)
  return new Uint8Array(digest.buffer)
}

const BLOCK_BYTES = 64

/** Section 6.2.2, for each block in turn. */
function compress(state: Uint32Array, blocks: DataView): void {
  for (let at = 0; at < blocks.byteLength; at += BLOCK_BYTES) {
    for (let t = 0; t < 16; t++) schedule[t] = blocks.getUint32(at + 4 * t)
    for (let t = 16; t < 64; t++) {
      const [early, late] = [word(schedule, t - 15), word(schedule, t - 2)]
      const sigma0 = rotate(early, 7) ^ rotate(early, 18) ^ (early >>> 3)
      const sigma1 = rotate(late, 17) ^ rotate(late, 19) ^ (late >>> 10)
      schedule[t] = word(schedule, t - 16) + sigma0 + word(schedule, t - 7) + sigma1
    }
    let [a, b, c, d] = [word(state, 0), word(state, 1), word(state, 2), word(state, 3)]
    let [e, f, g, h] = [word(state, 4), word(state, 5), word(state, 6), word(state, 7)]
    for (let t = 0; t < 64; t++) {
      const sum1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)
      const first = h + sum1 + ((e & f) ^ (~e & g)) + word(constants, t) + word(schedule, t)
      const sum0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)
      const second = sum0 + ((a & b) ^ (a & c) ^ (b & c))
      h = g
      g = f
      f = e
      e = (d + first) | 0
      d = c
      c = b
      b = a
      a = (first + second) | 0
    }
    for (const [i, value] of [a, b, c, d, e, f, g, h].entries()) state[i] = word(state, i) + value
  }
}

/** One for all, since nothing is awaited while it is in use. */
const schedule = new Uint32Array(64)

function word(words: Uint32Array, at: number): number {
  return words[at] ?? 0
}

function rotate(value: number, bits: number): number {
  return (value >>> bits) | (value << (32 - bits))
}

/** Sections 5.3.3 and 4.2.2: the first 32 bits of the fractions of roots of the first primes, square and cube. */
const initialState: readonly number[] = [
  0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
]
const constants = new Uint32Array([
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98,
  0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786,
  0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8,
  0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
  0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819,
  0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
  0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
  0xc67178f2,
])
