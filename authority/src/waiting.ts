/**
 * Waits for something that others bring about, such as acknowledgements: asked again when told to, not by the clock.
 * @module
 */

export interface Waiting {
  /** Settles with true as soon as it is reached, with false after so long or when all waiting ends. */
  until(isReached: () => boolean, milliseconds: number): Promise<boolean>
  /** Something may have been reached. Many at once are one. */
  wake(): void
  end(): void
}

export function createWaiting(): Waiting {
  const checks = new Set<() => void>()
  let isWoken = false
  let isOver = false

  function look(): void {
    isWoken = false
    for (const check of [...checks]) check()
  }

  return {
    until: (isReached, milliseconds) =>
      new Promise((resolve) => {
        const late = setTimeout(() => settle(false), milliseconds).unref()
        function settle(reached: boolean): void {
          clearTimeout(late)
          checks.delete(check)
          resolve(reached)
        }
        function check(): void {
          if (isReached()) settle(true)
          else if (isOver) settle(false)
        }
        checks.add(check)
        check()
      }),
    wake: () => {
      if (isWoken || checks.size === 0) return
      isWoken = true
      setImmediate(look)
    },
    end: () => {
      isOver = true
      look()
    },
  }
}
