package dev.pgfox;

import java.time.Duration;
import java.util.concurrent.ThreadLocalRandom;

/** Pauses between attempts. They grow, and differ between clients that failed together. */
final class Backoff {
    private static final Duration MIN_PAUSE = Duration.ofMillis(100);
    private static final Duration MAX_PAUSE = Duration.ofSeconds(5);

    private Duration pause = MIN_PAUSE;
    private int failures;
    private long failingSince;

    /** The pause after this failure, at least as long as the server asks for. */
    Duration next(PgfoxException error) {
        if (failures++ == 0) {
            failingSince = System.nanoTime();
        }
        // Half of the pause is random, so that many clients do not come back together.
        Duration chosen = Duration.ofNanos((long)
                (pause.toNanos() * (0.5 + 0.5 * ThreadLocalRandom.current().nextDouble())));
        Duration doubled = pause.multipliedBy(2);
        pause = doubled.compareTo(MAX_PAUSE) < 0 ? doubled : MAX_PAUSE;
        return error.retryDelay().filter(asked -> asked.compareTo(chosen) > 0).orElse(chosen);
    }

    /** Records a success. The next failure counts as the first one again. */
    void reset() {
        pause = MIN_PAUSE;
        failures = 0;
    }

    /** Number of failures since the last success. */
    int failures() {
        return failures;
    }

    /** Time since the first of these failures. */
    Duration failingFor() {
        return failures == 0 ? Duration.ZERO : Duration.ofNanos(System.nanoTime() - failingSince);
    }
}
