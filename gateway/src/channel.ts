/**
 * What a primary and its worker say to each other: questions with their answers, in the order in which they are sent. A question
 * whose asker does not wait any more is answered all the same, and nobody listens.
 * @module
 */

/** The other end: a worker as its primary has it, or this process as its primary's worker. */
export interface Wire {
  /** Calls back when it is on its way, or with what kept it. */
  send(message: object, sent: (error: Error | null) => void): void
  onMessage(listener: (message: unknown) => void): void
  /** Nothing comes any more. */
  onClose(listener: () => void): void
}

export interface Channel<Question> {
  /** Rejects when the other end has gone, could not answer, or has not within so long. Left out: as long as it is there. */
  ask<Answer>(question: Question, milliseconds?: number): Promise<Answer>
}

interface Asked {
  readonly id: number
  readonly question: unknown
}

interface Answered {
  readonly to: number
  readonly answer?: unknown
  readonly problem?: string
}

/** `answer` may throw, and the asker learns what. */
export function openChannel<Question, Other>(
  wire: Wire,
  answer: (question: Other) => unknown,
): Channel<Question> {
  const waiting = new Map<number, (answered: Answered) => void>()
  let last = 0

  async function respond({ id, question }: Asked): Promise<void> {
    let answered: Answered
    try {
      answered = { to: id, answer: await answer(question as Other) }
    } catch (error) {
      answered = { to: id, problem: (error as Error).message }
    }
    wire.send(answered, () => {})
  }

  wire.onMessage((message) => {
    const { id, to } = message as Partial<Asked & Answered>
    if (id !== undefined) void respond(message as Asked)
    else if (to !== undefined) waiting.get(to)?.(message as Answered)
  })
  wire.onClose(() => {
    for (const settle of [...waiting.values()]) settle({ to: 0, problem: GONE })
  })

  return {
    ask: <Answer>(question: Question, milliseconds?: number) =>
      new Promise<Answer>((resolve, reject) => {
        const id = ++last
        const late =
          milliseconds === undefined
            ? undefined
            : setTimeout(() => settle({ to: id, problem: 'did not answer in time' }), milliseconds)
        const settle = ({ answer, problem }: Answered): void => {
          clearTimeout(late)
          waiting.delete(id)
          if (problem === undefined) resolve(answer as Answer)
          else reject(new Error(problem))
        }
        waiting.set(id, settle)
        wire.send({ id, question }, (error) => {
          if (error !== null) settle({ to: id, problem: GONE })
        })
      }),
  }
}

const GONE = 'the other process has gone'
