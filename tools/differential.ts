/**
 * Writes docs/differential.md: the tokens about which this validator and three libraries disagree, each with its reason. Every token
 * is a good one with a single twist, signed after it where the twist is no matter of the signature. All four are asked for the same:
 * one algorithm, issuer, audience, type, time and tolerance, as far as each knows the question; ours without receipts.
 *
 *     node tools/differential.ts    rewrites the page; tools/differential.test.ts fails where somebody should have
 * @module
 */

import { createHmac, createPublicKey } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { acceptWithoutReceipt, createValidator } from '@countersign/validator'
import { decode, encode } from '@countersign/validator/base64url'
import { signInput } from '@countersign/validator/jws'
import { createTestKey, createTestWorld, mailAudience, tenants } from '@countersign/validator/testing'
import { createVerifier } from 'fast-jwt'
import { jwtVerify } from 'jose'
import jsonwebtoken from 'jsonwebtoken'
import { root } from './source.ts'

export const page = 'docs/differential.md'

export const readers = ['countersign', 'jose', 'fast-jwt', 'jsonwebtoken'] as const
export type Reader = (typeof readers)[number]
/** Who accepted. */
export type Verdicts = Readonly<Record<Reader, boolean>>

/** What is done to a good token, and why the four may disagree about it. */
export interface Twist {
  readonly of: 'header' | 'claims' | 'token'
  readonly name: string
  /** Header and claims as text before they are signed, or the token after. */
  readonly twist: (text: string) => string
  /** Needed where they disagree. */
  readonly why?: string
}

const world = createTestWorld()
const { now } = world
const key = world.keys.enterprise
const thief = createTestKey('ES256')
const publicKey = createPublicKey({ key: { ...key.jwk }, format: 'jwk' })
const pem = publicKey.export({ type: 'spki', format: 'pem' }).toString()
const issuer = `https://login.enterprise.example/${tenants.fabrikam}/v2.0`
const toleranceSeconds = 5

const goodHeader = { alg: key.algorithm, typ: 'at+jwt', kid: key.kid }
const goodClaims = {
  iss: issuer,
  sub: 'ada',
  aud: mailAudience,
  client_id: 'client-1',
  iat: now,
  exp: now + 300,
  jti: '2f1a3c5e7b9d4f60',
  scope: 'mail.read',
  tid: tenants.fabrikam,
}

/** A good token after these twists. */
export function twisted(twists: readonly Twist[]): string {
  const apply = (of: Twist['of'], text: string): string =>
    twists.filter((each) => each.of === of).reduce((before, { twist }) => twist(before), text)
  const header = apply('header', JSON.stringify(goodHeader))
  const claims = apply('claims', JSON.stringify(goodClaims))
  const input = `${segment(header)}.${segment(claims)}`
  return apply('token', `${input}.${encode(signInput('ES256', key.privateKey, input))}`)
}

/** What each of the four says about a token. */
export async function verdictsOn(token: string): Promise<Verdicts> {
  return {
    countersign: validator.decide(token).accepted,
    jose: await accepts(() =>
      jwtVerify(token, publicKey, {
        algorithms: ['ES256'],
        issuer,
        audience: mailAudience,
        typ: 'at+jwt',
        currentDate: new Date(now * 1000),
        clockTolerance: toleranceSeconds,
        requiredClaims: ['iss', 'aud', 'exp', 'iat', 'sub', 'jti'],
      }),
    ),
    'fast-jwt': await accepts(() => verifyFast(token)),
    jsonwebtoken: await accepts(() =>
      jsonwebtoken.verify(token, pem, {
        algorithms: ['ES256'],
        issuer,
        audience: mailAudience,
        clockTimestamp: now,
        clockTolerance: toleranceSeconds,
      }),
    ),
  }
}

const validator = createValidator({
  realm: 'enterprise',
  audience: mailAudience,
  trust: world.trust,
  clockToleranceSeconds: toleranceSeconds,
  now: () => now,
  [acceptWithoutReceipt]: 'the others know no receipts',
})

const verifyFast = createVerifier({
  key: pem,
  algorithms: ['ES256'],
  allowedIss: issuer,
  allowedAud: mailAudience,
  checkTyp: 'at+jwt',
  clockTimestamp: now * 1000,
  clockTolerance: toleranceSeconds * 1000,
  requiredClaims: ['iss', 'aud', 'exp', 'iat', 'sub', 'jti'],
})

async function accepts(verify: () => unknown): Promise<boolean> {
  try {
    await verify()
    return true
  } catch {
    return false
  }
}

function segment(text: string): string {
  // A lone surrogate has no UTF-8: it is written as the three bytes that a careless writer would use.
  return encode(Buffer.from(text, 'utf8'))
}

const put = (member: string, value: unknown) => (text: string) =>
  JSON.stringify({ ...JSON.parse(text), [member]: value })
const drop = (member: string) => put(member, undefined)
const behind = (more: string) => (text: string) => `${text.slice(0, -1)},${more}}`

const header = (name: string, twist: Twist['twist'], why?: string): Twist => ({
  of: 'header',
  name,
  twist,
  ...(why !== undefined && { why }),
})
const claims = (name: string, twist: Twist['twist'], why?: string): Twist => ({
  ...header(name, twist, why),
  of: 'claims',
})
const token = (name: string, twist: Twist['twist'], why?: string): Twist => ({
  ...header(name, twist, why),
  of: 'token',
})

const mapSegment = (nth: number, change: (segment: string) => string) => (text: string) =>
  text
    .split('.')
    .map((each, at) => (at === nth ? change(each) : each))
    .join('.')

const twoNames =
  'Two readers can take such a text for two objects, and then one checks what the other does not act on.'
const notFollowed =
  'What a header names is not followed, and what is not followed need not be there: four members, and no other.'
const critical =
  'Who does not know what `crit` names has to refuse, and `crit` may not be empty (RFC 7515, section 4.1.11). jsonwebtoken does not look.'
const firstSecond =
  'At `exp` it is good no more (RFC 7519, section 4.1.4: “on or after”). fast-jwt still takes it in that very second.'
const kinds =
  'Each claim has the kind that the RFCs give it, also those that nobody asked about, since somebody will act on them.'
const oneWriting =
  'Every token has one text. A second name for the same token gets around whatever is keyed on the first: caches, deny lists, replay checks.'
const profile = 'An access token of ours has these claims (RFC 9068), and says for which tenant it is.'
const scope = 'The manifest says what each key is for. No library has that question.'

export const twists: readonly Twist[] = [
  header('`alg` in lower case', put('alg', 'es256')),
  header('`alg` `none`', put('alg', 'none')),
  header('`alg` `HS256`', put('alg', 'HS256')),
  header('`alg` a list', put('alg', ['ES256'])),
  header('no `alg`', drop('alg')),
  header('`alg` twice, the good one last', (text) => text.replace('{', '{"alg":"none",'), twoNames),
  header('`alg` twice, the good one first', behind('"alg":"none"')),
  header('a name escaped', (text) => text.replace('"alg"', '"\\u0061lg"')),
  header('`kid` twice', behind(`"kid":"${thief.kid}"`), twoNames),
  header(
    'no `typ`',
    drop('typ'),
    '`typ` keeps an ID token from passing as an access token (RFC 8725, section 3.11). jsonwebtoken cannot be told to ask.',
  ),
  header('`typ` `JWT`', put('typ', 'JWT'), 'As without `typ`: jsonwebtoken does not look.'),
  header('`typ` `AT+JWT`', put('typ', 'AT+JWT')),
  header('`typ` `application/at+jwt`', put('typ', 'application/at+jwt')),
  header(
    '`typ` with a look-alike, U+212A for k',
    put('typ', 'at+jwt\u212a'),
    'As without `typ`: jsonwebtoken does not look.',
  ),
  header('no `kid`', drop('kid'), 'The name chooses the key, and its state. The others were given one key.'),
  header(
    'a `kid` that nobody knows',
    put('kid', thief.kid),
    'The others were given one key, and do not ask whether the token names it.',
  ),
  header('`kid` a number', put('kid', 1), 'The others do not look at `kid` when they were given a key.'),
  header('`crit` that names `exp`', put('crit', ['exp']), critical),
  header('`crit` that names what nobody knows', put('crit', ['x']), critical),
  header('`crit` empty', put('crit', []), critical),
  header('`b64` false, not critical', put('b64', false), notFollowed),
  header('`jwk` of a thief', put('jwk', thief.jwk), notFollowed),
  header('`jku` of a thief', put('jku', 'https://thief.example/keys'), notFollowed),
  header('`x5c`', put('x5c', ['MIIB']), notFollowed),
  header('`zip`', put('zip', 'DEF'), notFollowed),
  header('`cty` `JWT`', put('cty', 'JWT'), notFollowed),
  header('an unknown member', put('x', 1), notFollowed),
  header('a member `__proto__`', behind('"__proto__":{"x":1}'), notFollowed),
  header('spaces around', (text) => ` ${text}\n`),
  header(
    'a byte order mark',
    (text) => `\ufeff${text}`,
    'JSON has none (RFC 8259, section 8.1). Decoders drop it or not.',
  ),
  header('something behind the object', (text) => `${text}{}`),
  header('an array', (text) => `[${text}]`),
  header(
    'more than 2 KiB',
    (text) => `${' '.repeat(2100)}${text}`,
    'A bound on what anybody can make us read. Ours fit.',
  ),

  claims('`exp` twice, the later one last', behind(`"exp":${now + 400}`), twoNames),
  claims('`exp` twice, the past one first', (text) => text.replace('{', '{"exp":1,'), twoNames),
  claims('`sub` twice', behind('"sub":"eve"'), twoNames),
  claims('`sub` twice, once escaped', behind('"\\u0073ub":"eve"'), twoNames),
  claims('a name escaped', (text) => text.replace('"sub"', '"\\u0073ub"')),
  claims(
    'a member `__proto__`',
    behind('"__proto__":{"admin":true}'),
    'Whoever copies the claims by assignment would set a prototype.',
  ),
  claims(
    'a lone surrogate, escaped',
    behind('"x":"\\ud800"'),
    'It has no UTF-8: what is stored or compared later is another text.',
  ),
  claims('a number beyond a double', behind('"x":1e400'), 'Read as infinite by some and refused by others.'),
  claims('a number beyond 2^53', behind('"x":9007199254740993')),
  claims(
    'brackets 33 deep',
    behind(`"x":${'['.repeat(33)}${']'.repeat(33)}`),
    'A bound on what anybody can make us read.',
  ),
  claims(
    'a byte order mark',
    (text) => `\ufeff${text}`,
    'JSON has none (RFC 8259, section 8.1). Decoders drop it or not.',
  ),
  claims('spaces around', (text) => ` ${text}\n`),
  claims('something behind the object', (text) => `${text}{}`),
  claims('an array', (text) => `[${text}]`),
  claims('a text', (text) => JSON.stringify(text)),
  claims('`null`', () => 'null'),

  claims(
    'no `exp`',
    drop('exp'),
    'A token without end cannot be waited out. jsonwebtoken cannot be told to ask.',
  ),
  claims('`exp` as text', put('exp', `${now + 300}`)),
  claims('`exp` `null`', put('exp', null)),
  claims(
    '`exp` with a fraction',
    put('exp', now + 300.5),
    'Whole seconds, since the witness’s entry holds whole seconds. RFC 7519 allows fractions, and our signers write none.',
  ),
  claims('`exp` just over', put('exp', now - toleranceSeconds), firstSecond),
  claims(
    '`exp` just within the tolerance',
    put('exp', now - toleranceSeconds + 1),
    'It ends before it was issued: not a time at which it was ever good.',
  ),
  claims('issued and ended just within the tolerance', (text) =>
    put('iat', now - 300)(put('exp', now - toleranceSeconds + 1)(text)),
  ),
  claims(
    'issued and ended just over',
    (text) => put('iat', now - 300)(put('exp', now - toleranceSeconds)(text)),
    firstSecond,
  ),
  claims('`exp` negative', put('exp', -1)),
  claims('no `iat`', drop('iat'), `${profile} Cutoffs and the key’s window hang on it.`),
  claims('`iat` as text', put('iat', `${now}`), kinds),
  claims('`iat` with a fraction', put('iat', now - 0.5), 'Whole seconds, as for `exp`.'),
  claims(
    '`iat` beyond the tolerance',
    put('iat', now + toleranceSeconds + 1),
    'A token from the future is not good yet: its signer’s clock, or a lie about it, is what a kill is dated by.',
  ),
  claims('`iat` within the tolerance', put('iat', now + toleranceSeconds)),
  claims('`nbf` beyond the tolerance', put('nbf', now + toleranceSeconds + 1)),
  claims('`nbf` within the tolerance', put('nbf', now + toleranceSeconds)),
  claims('`nbf` as text', put('nbf', `${now}`)),
  claims('two days long', put('exp', now + 2 * 86_400), `${scope} It may sign for an hour at most.`),
  claims(
    'from before the key was active',
    (text) => put('iat', now - 7200)(put('exp', now + 60)(text)),
    `${scope} A key that did not sign then cannot have made it.`,
  ),

  claims('`aud` a list that has it', put('aud', ['x', mailAudience])),
  claims('`aud` a list without it', put('aud', ['x'])),
  claims('`aud` a list with a number', put('aud', [7, mailAudience]), kinds),
  claims('`aud` empty', put('aud', [])),
  claims('`aud` another', put('aud', 'x')),
  claims('`aud` longer at its end', put('aud', `${mailAudience}/`)),
  claims('no `aud`', drop('aud')),
  claims('`iss` another', put('iss', 'https://login.consumer.example')),
  claims('`iss` a list', put('iss', [issuer])),
  claims('`iss` with a slash at its end', put('iss', `${issuer}/`)),
  claims('no `iss`', drop('iss')),
  claims('`iss` of another tenant', put('iss', issuer.replace(tenants.fabrikam, tenants.northwind))),
  claims('no `sub`', drop('sub'), 'jsonwebtoken cannot be told to ask that a claim is there.'),
  claims('`sub` empty', put('sub', ''), kinds),
  claims('`sub` a number', put('sub', 7), kinds),
  claims('no `jti`', drop('jti'), `${profile} jsonwebtoken cannot be told to ask.`),
  claims('`jti` a number', put('jti', 7), kinds),
  claims('no `tid`', drop('tid'), profile),
  claims(
    '`tid` of another tenant',
    put('tid', tenants.northwind),
    `${scope} The tenant in \`tid\` has to be the one in \`iss\`.`,
  ),
  claims('`scope` with two spaces', put('scope', 'a  b'), kinds),
  claims('`scope` a list', put('scope', ['mail.read']), kinds),
  claims('`client_id` a number', put('client_id', 7), kinds),
  claims(
    '`cnf` without a proof',
    put('cnf', { jkt: thief.kid }),
    'A bound token counts only with proof of its key (RFC 9449, 8705). The libraries leave that to others.',
  ),
  claims('an unknown claim', put('x', { y: [1] })),

  token('padding behind the signature', (text) => `${text}==`, oneWriting),
  token(
    'padding behind the header',
    mapSegment(0, (each) => `${each}=`),
  ),
  token('the other alphabet in the signature', otherAlphabet),
  token(
    'a space in the signature',
    mapSegment(2, (each) => `${each.slice(0, 9)} ${each.slice(9)}`),
    oneWriting,
  ),
  token('bits behind the last byte of the signature', trailingBits, oneWriting),
  token('a line break behind it', (text) => `${text}\n`, oneWriting),
  token('a space before it', (text) => ` ${text}`),
  token('`Bearer` before it', (text) => `Bearer ${text}`),
  token('a dot behind it', (text) => `${text}.`),
  token('four segments', (text) => `${text}.AA`),
  token('two segments', (text) => text.slice(0, text.lastIndexOf('.'))),
  token('no signature', (text) => text.slice(0, text.lastIndexOf('.') + 1)),
  token('no header', (text) => text.slice(text.indexOf('.'))),
  token(
    'a signature of zeros',
    mapSegment(2, () => encode(new Uint8Array(64))),
  ),
  token(
    'a signature one byte short',
    mapSegment(2, (each) => encode(decode(each).subarray(0, 63))),
  ),
  token(
    'a signature one byte long',
    mapSegment(2, (each) => encode(Buffer.concat([decode(each), Buffer.alloc(1)]))),
  ),
  token(
    'a signature in DER',
    mapSegment(2, (each) => encode(derOf(decode(each)))),
  ),
  token(
    'the other signature of ECDSA, n - s',
    mapSegment(2, (each) => encode(otherSignature(decode(each)))),
  ),
  token('signed by another key', signedByAnother),
  token('HS256 with the public key as secret', hmacWithPublicKey),
  token(
    'the claims of another token',
    mapSegment(1, (each) => `${each.slice(0, -4)}AAAA`),
  ),
]

function otherAlphabet(text: string): string {
  // ECDSA is random: one in a few signatures has such a character.
  const [head = '', payload = ''] = text.split('.')
  for (let tries = 0; tries < 1000; tries++) {
    const signature = encode(signInput('ES256', key.privateKey, `${head}.${payload}`))
    if (/[-_]/.test(signature))
      return `${head}.${payload}.${signature.replaceAll('-', '+').replaceAll('_', '/')}`
  }
  throw new Error('no signature has a character of its own')
}

function trailingBits(text: string): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  const last = alphabet.indexOf(text.at(-1) ?? '')
  // 64 bytes leave four bits unused.
  return text.slice(0, -1) + alphabet[(last & 0b110000) | 1]
}

function derOf(signature: Uint8Array): Uint8Array {
  const integer = (bytes: Uint8Array): Buffer => {
    const first = bytes.findIndex((byte) => byte !== 0)
    const short = bytes.subarray(first)
    const body = (short[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.alloc(1), short]) : Buffer.from(short)
    return Buffer.concat([Buffer.of(2, body.length), body])
  }
  const body = Buffer.concat([integer(signature.subarray(0, 32)), integer(signature.subarray(32))])
  return Buffer.concat([Buffer.of(0x30, body.length), body])
}

function otherSignature(signature: Uint8Array): Uint8Array {
  const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n
  const s = BigInt(`0x${Buffer.from(signature.subarray(32)).toString('hex')}`)
  const other = Buffer.from((order - s).toString(16).padStart(64, '0'), 'hex')
  return Buffer.concat([signature.subarray(0, 32), other])
}

function signedByAnother(text: string): string {
  const input = text.slice(0, text.lastIndexOf('.'))
  return `${input}.${encode(signInput('ES256', thief.privateKey, input))}`
}

function hmacWithPublicKey(text: string): string {
  const input = `${segment(JSON.stringify({ ...goodHeader, alg: 'HS256' }))}.${text.split('.')[1]}`
  return `${input}.${createHmac('sha256', pem).update(input).digest('base64url')}`
}

/** One twist, and what each of the four says about a token with it alone. */
export interface Row {
  readonly twist: Twist
  readonly verdicts: Verdicts
}

export async function rows(): Promise<readonly Row[]> {
  return Promise.all(twists.map(async (twist) => ({ twist, verdicts: await verdictsOn(twisted([twist])) })))
}

export function disagrees({ verdicts }: Row): boolean {
  return new Set(Object.values(verdicts)).size > 1
}

/** The whole page. */
export function differentialPage(all: readonly Row[]): string {
  const apart = all.filter(disagrees)
  const version = (name: string): string =>
    JSON.parse(readFileSync(join(root, 'node_modules', name, 'package.json'), 'utf8')).version
  const places = { header: 'The header', claims: 'The claims', token: 'The text of the token' } as const
  const table = (of: Twist['of']): readonly string[] => [
    `## ${places[of]}`,
    '',
    `| a good token with | ${readers.join(' | ')} | why |`,
    '| --- | --- | --- | --- | --- | --- |',
    ...apart
      .filter(({ twist }) => twist.of === of)
      .map(({ twist, verdicts }) => {
        const cells = readers.map((reader) => (verdicts[reader] ? 'accepts' : '-'))
        return `| ${twist.name} | ${cells.join(' | ')} | ${twist.why ?? 'unexplained'} |`
      }),
    '',
  ]
  return [
    '# Where we and others disagree',
    '',
    '<!-- Written by tools/differential.ts. -->',
    '',
    `The same tokens for this validator, jose ${version('jose')}, fast-jwt ${version('fast-jwt')} and jsonwebtoken ${version('jsonwebtoken')}. Each was asked for one key, one`,
    'algorithm, issuer, audience, type, required claims, time and tolerance, as far as it can be told; ours was told that receipts are not',
    `needed. Of ${all.length} twists of a good token, each signed by the right key where that matters, they agree about ${all.length - apart.length}. The others stand here.`,
    '',
    'Nothing that we accept is refused by any of them, and most of what we refuse alone is no fault of theirs: a library answers what it is',
    'asked. What is twice in a text, and what one token is written as in two ways, differ in kind: there two programs can take one token',
    'for two things.',
    '',
    ...(Object.keys(places) as Twist['of'][]).flatMap((of) => table(of)),
    'The test beside it also tries every pair of these twists, and edits of a good token that nobody signed: whoever accepts one of those',
    'reads the same token in another writing.',
    '',
  ].join('\n')
}

if (import.meta.main) {
  const path = join(root, page)
  const before = readFileSync(path, { encoding: 'utf8', flag: 'a+' })
  const after = differentialPage(await rows())
  writeFileSync(path, after)
  console.log(`${page}: ${before === after ? 'was up to date' : 'rewritten'}`)
}
