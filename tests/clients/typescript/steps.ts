// The steps of a story, which know neither Node nor a browser.

/** What a story does, in this order. */
export type Steps = Record<string, () => Promise<void>>;

/** Runs the steps to the first that fails, with a line for each. */
export async function run(steps: Steps, print: (line: string) => unknown): Promise<boolean> {
  for (const [name, step] of Object.entries(steps)) {
    try {
      await step();
    } catch (error) {
      await print(`FAILED ${name}: ${error instanceof Error ? error.message.replaceAll("\n", " ") : error}`);
      return false;
    }
    await print(`ok ${name}`);
  }
  return true;
}

/** Fails with what should hold. */
export function check(holds: boolean, what: string): asserts holds {
  if (!holds) {
    throw new Error(what);
  }
}

/** Fails unless both are the same as JSON. */
export function equal(actual: unknown, expected: unknown, what: string): void {
  const [is, should] = [actual, expected].map((value) => JSON.stringify(value));
  check(is === should, `${what} is ${is}, not ${should}`);
}

/** The error that a call must end with. */
export async function failure(call: Promise<unknown>): Promise<unknown> {
  return call.then(
    () => {
      throw new Error("the call succeeded");
    },
    (error) => error,
  );
}
