/**
 * Which needs a request has, by where it goes: the most specific host, in it the longest path, in it the method. What is
 * found so decides alone, so a method that a path does not have is not looked for under a shorter one.
 *
 * The proxy and the application behind it may read one path in several ways: `/public/..%2fadmin` is under `/public` for
 * one and under `/admin` for the other. So each way in which any program reads a path is tried, and where they lead to
 * different routes, none is found. Pure.
 * @module
 */

/** A route as it is configured, with whatever hangs on it. */
export interface Route {
  /** A name, or `*.` and a name for all below it. Left out: any. */
  readonly host?: string | undefined
  /** It and all below it. */
  readonly path: string
  /** Left out: any. */
  readonly methods?: readonly string[] | undefined
}

/** Where a request goes, as the proxy says. */
export interface Destination {
  readonly host?: string | undefined
  readonly method: string
  /** Path and query. */
  readonly target: string
}

/** Finds the route of a request, or undefined where it has none. */
export function createRouter<Found extends Route>(
  routes: readonly Found[],
): (destination: Destination) => Found | undefined {
  const byHost = new Map<string, Found[]>()
  // Of one path, what names its methods before what takes the others.
  const ordered = [...routes].sort(
    (one, other) =>
      other.path.length - one.path.length ||
      Number(one.methods === undefined) - Number(other.methods === undefined),
  )
  for (const route of ordered) byHost.set(route.host ?? '', [...(byHost.get(route.host ?? '') ?? []), route])
  const sorted = [...byHost].sort(([one], [other]) => hostRank(other) - hostRank(one))
  const isHostAsked = routes.some(({ host }) => host !== undefined)

  return ({ host, method, target }) => {
    const name = isHostAsked ? nameOf(host) : ''
    const group = name === undefined ? undefined : sorted.find(([pattern]) => fitsHost(pattern, name))?.[1]
    const readings = readingsOf(target)
    if (group === undefined || readings === undefined) return undefined
    const [only, ...others] = new Set(readings.flatMap((reading) => pathsOf(group, reading)))
    if (only === undefined || others.length > 0) return undefined
    return group.find(({ path, methods }) => path === only && (methods?.includes(method) ?? true))
  }
}

/** Two routes that the same request could have. */
export function collide(one: Route, other: Route): boolean {
  if (one.host !== other.host || one.path.toLowerCase() !== other.path.toLowerCase()) return false
  if (one.methods === undefined || other.methods === undefined) return one.methods === other.methods
  return one.methods.some((method) => other.methods?.includes(method))
}

/** An exact name before a pattern, a longer pattern before a shorter one, any host last. */
function hostRank(host: string): number {
  if (host === '') return 0
  return host.startsWith('*.') ? host.length : 1000 + host.length
}

function fitsHost(pattern: string, name: string): boolean {
  if (pattern === '') return true
  return pattern.startsWith('*.') ? name.endsWith(pattern.slice(1)) : name === pattern
}

/** Without its port; empty where there is none. Undefined for what programs read in several ways. */
function nameOf(host: string = ''): string | undefined {
  const [whole, name = ''] = hostSyntax.exec(host.toLowerCase()) ?? []
  return whole === undefined ? undefined : name
}

/** A name with a dot at its end is the same name, and the digits of a port may be missing (RFC 3986, section 3.2.3). */
const hostSyntax = /^(?:([a-z0-9_-]+(?:\.[a-z0-9_-]+)*)\.?|\[[0-9a-f:.]+\])?(?::\d*)?$/

/** The paths of the routes that a reading leads to: as it stands, and for who ignores case or takes an ending for a format. */
function pathsOf(routes: readonly Route[], reading: string): readonly (string | undefined)[] {
  const path = longest(routes, reading)
  const folded = longest(routes, reading, lowerCase)
  // A route that is named with its ending is meant so.
  if (path === reading || !format.test(reading)) return [path, folded]
  return [path, folded, longest(routes, reading.replace(format, ''), lowerCase)]
}

/** `.json` of `/admin.json`, which some programs serve as `/admin`. */
const format = /\.[^./]*(?=\/?$)/

function lowerCase(text: string): string {
  return text.toLowerCase()
}

function longest(routes: readonly Route[], path: string, fold = (text: string) => text): string | undefined {
  return routes.find((route) => isBelow(fold(path), fold(route.path)))?.path
}

function isBelow(path: string, above: string): boolean {
  return above === '/' || path === above || path.startsWith(`${above}/`)
}

/** More is no path that anybody meant. */
const PATH_CHARACTERS_MAX = 8192
/** Every program reads it in the same way, but for its case. */
const plain = /^(?:\/(?!\.{0,2}(?:\/|$))[A-Za-z0-9._~!$&'()*+,=:@-]+)*\/?$/
const unreadable = /[\p{Cc}\p{Cf}]/u

/** The ways to read a path; undefined where nobody should. */
function readingsOf(target: string): readonly string[] | undefined {
  const [path = ''] = target.split('?', 1)
  // No client sends a fragment: some programs cut it off, and others take it for a part of the path.
  if (!path.startsWith('/') || path.includes('#') || path.length > PATH_CHARACTERS_MAX) return undefined
  if (unreadable.test(path)) return undefined
  if (plain.test(path)) return [path]
  const decoded = decode(path)
  if (decoded === undefined || unreadable.test(decoded)) return undefined
  const readings = new Set([path])
  let characters = 0
  // What is added is looked at in its turn, until nothing new comes of any change.
  for (const reading of readings) {
    characters += reading.length
    if (unreadable.test(reading) || characters > READ_CHARACTERS_MAX) return undefined
    for (const change of changes) readings.add(change(reading))
  }
  return [...readings].map((reading) => (reading.startsWith('/') ? reading : `/${reading}`))
}

/** In all readings together. Who writes a path that has more means to confuse, and would take up time. */
const READ_CHARACTERS_MAX = 32 * 1024

/** Each is done by some programs and not by others, in any order, and by several one after the other. */
const changes: readonly ((path: string) => string)[] = [
  // In the path of a route there is nothing but ASCII. Dots are resolved by some that decode nothing else.
  (path) => path.replaceAll(/%2e/gi, '.'),
  (path) => path.replaceAll(/%[0-7][0-9a-f]/gi, decodeURIComponent),
  (path) => path.replace(/[?#].*$/s, ''),
  (path) => path.replaceAll('\\', '/'),
  (path) => path.replaceAll(/;[^/]*/g, ''),
  (path) => path.replaceAll(/\/{2,}/g, '/'),
  resolveDots,
]

/** RFC 3986, section 5.2.4. */
function resolveDots(path: string): string {
  const resolved: string[] = []
  for (const segment of path.split('/').slice(1)) {
    if (segment === '..') resolved.pop()
    else if (segment !== '.') resolved.push(segment)
  }
  return `/${resolved.join('/')}`
}

/** Undefined where it is not percent-encoding of UTF-8. */
function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}
