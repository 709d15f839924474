/**
 * A log shows what no honest log shows. What proves it travels with the error, and stands without the log: signed
 * notes and the bytes that contradict them.
 * @module
 */

export class LogMisbehavior extends Error {
  readonly code:
    | 'checkpoint_invalid'
    | 'rolled_back'
    | 'forked'
    | 'tile_missing'
    | 'tile_altered'
    | 'bundle_missing'
    | 'entry_malformed'
    | 'entry_altered'
    | 'serial_repeated'
    | 'root_mismatch'
  /** Signed checkpoints that contradict each other, or the one that its own entries contradict. */
  readonly notes: readonly string[]
  constructor(code: LogMisbehavior['code'], message: string, notes: readonly string[] = []) {
    super(message)
    this.name = 'LogMisbehavior'
    this.code = code
    this.notes = notes
  }
}
