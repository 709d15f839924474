/**
 * `npm run bench`: Countersign beside its peers. `npm run bench -- day`: a day of turns under load, made short; exit 1 when a
 * grant failed or a valid token was refused.
 * @module
 */

import { compare } from './compare.ts'
import { liveADay } from './day.ts'

switch (process.argv[2]) {
  case undefined:
    await compare()
    break
  case 'day':
    process.exitCode = (await liveADay()) === 0 ? 0 : 1
    break
  default:
    process.stderr.write('npm run bench, or npm run bench -- day\n')
    process.exitCode = 2
}
