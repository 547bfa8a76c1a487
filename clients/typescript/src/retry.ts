import type { PgfoxError } from "./error.js";

/** First pause in milliseconds. It doubles with every failure, up to {@link MAX_PAUSE}. */
const MIN_PAUSE = 100;
/** Longest pause, unless the server asks for more. */
const MAX_PAUSE = 5_000;

/** Pauses between attempts. They grow, and differ between clients that failed together. */
export class Backoff {
  #pause = MIN_PAUSE;

  /** Milliseconds to wait after this failure, at least as long as the server asks for. */
  pause(error: PgfoxError): number {
    // Half of the pause is random, so that many clients do not come back together.
    const pause = this.#pause * (0.5 + 0.5 * Math.random());
    this.#pause = Math.min(this.#pause * 2, MAX_PAUSE);
    return Math.max(pause, error.retryDelayMs ?? 0);
  }

  /** Records a success. The next failure counts as the first one again. */
  reset(): void {
    this.#pause = MIN_PAUSE;
  }
}

/** Waits; throws the reason of the signal as soon as that aborts. */
export async function sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  try {
    await abortable(new Promise((resolve) => (timer = setTimeout(resolve, milliseconds))), signal);
  } finally {
    clearTimeout(timer);
  }
}

/** Waits for a promise; throws the reason of the signal as soon as that aborts. */
export function abortable<T>(promise: Promise<T>, signal?: AbortSignal): Promise<T> {
  if (!signal) {
    return promise;
  }
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) {
      abort();
    }
    signal.addEventListener("abort", abort);
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}
