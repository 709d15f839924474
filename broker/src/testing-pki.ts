/**
 * Certificate authorities for tests, kept by OpenSSL in a folder: real certificates with names, real dates, real revocation
 * lists. Nothing here is for production.
 * @module
 */

import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** Files (PEM) of a certificate and its key. */
export interface Certificate {
  readonly key: string
  readonly cert: string
  /** SHA-256, as the broker's configuration has it. */
  readonly sha256: string
}

export interface TestAuthority {
  /** Its own certificate. */
  readonly cert: string
  /** Which of its certificates have been revoked, as of the last time that it was asked to say so. */
  readonly crl: string
  /** `names` as OpenSSL writes them: `DNS:a.example`, `URI:spiffe://b`. `ended`: it was good until a minute ago. */
  issue(name: string, names: readonly string[], options?: { readonly ended?: boolean }): Certificate
  /** Writes its list anew. */
  revoke(certificate: Certificate): void
}

/** Why there can be none; undefined where OpenSSL is. */
export function missingOpenssl(): string | undefined {
  try {
    execFileSync('openssl', ['version'], { stdio: 'ignore' })
    return undefined
  } catch {
    return 'there is no openssl on this machine'
  }
}

export function createTestAuthority(folder: string): TestAuthority {
  mkdirSync(folder, { recursive: true })
  const file = (name: string): string => join(folder, name)
  const openssl = (...args: readonly string[]): void => {
    execFileSync('openssl', args, { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] })
  }
  writeFileSync(file('ca.cnf'), configuration)
  writeFileSync(file('index.txt'), '')
  writeFileSync(file('serial'), '01\n')
  writeFileSync(file('crlnumber'), '01\n')
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-noenc']
  openssl('req', '-x509', ...key, '-keyout', 'ca.key', '-out', 'ca.pem', '-days', '2', '-subj', '/CN=test')
  const list = (): void => openssl('ca', '-config', 'ca.cnf', '-gencrl', '-out', 'crl.pem')
  list()
  return {
    cert: file('ca.pem'),
    crl: file('crl.pem'),
    issue: (name, names, { ended = false } = {}) => {
      openssl('req', ...key, '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', `/CN=${name}`)
      writeFileSync(file(`${name}.ext`), extensions(names))
      const dates = ended ? ['-startdate', '20200101000000Z', '-enddate', minuteAgo()] : ['-days', '1']
      const files = ['-in', `${name}.csr`, '-out', `${name}.pem`, '-extfile', `${name}.ext`]
      openssl('ca', '-batch', '-config', 'ca.cnf', '-notext', ...files, ...dates)
      const { fingerprint256 } = new X509Certificate(readFileSync(file(`${name}.pem`)))
      return {
        key: file(`${name}.key`),
        cert: file(`${name}.pem`),
        sha256: fingerprint256.replaceAll(':', '').toLowerCase(),
      }
    },
    revoke: ({ cert }) => {
      if (!existsSync(cert)) throw new Error(`${cert} was not issued here`)
      openssl('ca', '-config', 'ca.cnf', '-revoke', cert)
      list()
    },
  }
}

/** In a section of their own, a name may hold a comma. */
function extensions(names: readonly string[]): string {
  const lines = names.map((name, at) => name.replace(':', `.${at} = `))
  return ['subjectAltName = @names', '[names]', ...lines, ''].join('\n')
}

/** As OpenSSL writes times. */
function minuteAgo(): string {
  return new Date(Date.now() - 60_000).toISOString().replace(/[-:T]|\.\d+/g, '')
}

const configuration = `
[ca]
default_ca = test
[test]
database = index.txt
new_certs_dir = .
certificate = ca.pem
private_key = ca.key
serial = serial
crlnumber = crlnumber
default_md = sha256
default_crl_days = 1
unique_subject = no
policy = any
[any]
commonName = supplied
`
