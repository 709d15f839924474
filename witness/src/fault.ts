/**
 * The world failed, or what lies on the disk is not what this witness wrote. Nothing goes on after one: the process
 * ends, and a start that meets one again refuses.
 * @module
 */

export class LogFault extends Error {
  readonly code:
    | 'disk_failed'
    | 'another_writer'
    | 'state_missing'
    | 'state_malformed'
    | 'entries_missing'
    | 'entries_altered'
    | 'mark_malformed'
  constructor(code: LogFault['code'], message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'LogFault'
    this.code = code
  }
}
