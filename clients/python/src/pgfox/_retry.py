"""Decides when to retry a call, and how long to wait before."""

from __future__ import annotations

import random
import time

import grpc

from pgfox._errors import PgfoxError

# Pauses in seconds: the first one, and the longest one unless the server asks for more.
PAUSE_MIN = 0.1
MAX_PAUSE = 5.0

# A second attempt would report an error although the first succeeded.
NEVER_REPEATED = frozenset(
    f"/pgfox.v1.PgfoxService/{name}" for name in ("CreateCollection", "DeleteCollection", "DropIndex")
)

# How gRPC reports that a stream was reset.
SIGNS_OF_RESET = ("RST_STREAM", "Stream removed")


class Backoff:
    """Pauses that grow, differ between clients that failed together, and end `timeout` seconds after `started`."""

    def __init__(self, timeout: float, started: float | None = None) -> None:
        self.timeout = timeout
        self.started = time.monotonic() if started is None else started
        self.failures = 0
        self._next = PAUSE_MIN

    def pause(self, error: PgfoxError) -> float | None:
        """The pause after this failure, at least as long as the server asks for. None: give up."""
        # Half of the pause is random.
        pause = max(self._next * random.uniform(0.5, 1.0), error.retry_delay or 0.0)
        self._next = min(2 * self._next, MAX_PAUSE)
        self.failures += 1
        return pause if self.elapsed() + pause <= self.timeout else None

    def elapsed(self) -> float:
        return time.monotonic() - self.started


class Attempts:
    """The attempts of one call, which share its deadline."""

    def __init__(self, started: float, timeout: float, repeatable: bool) -> None:
        self._backoff = Backoff(timeout, started)
        self._repeatable = repeatable
        self._count = 0

    def pause(self, error: PgfoxError) -> float:
        """The pause before the next attempt. Raises the error if there will be none."""
        self._count += 1
        if self._repeatable and error.is_retryable():
            pause = self._backoff.pause(error)
            if pause is not None:
                return pause
        error.attempts = self._count
        error.elapsed = self._backoff.elapsed()
        raise error

    def remaining(self) -> float:
        return self._backoff.timeout - self._backoff.elapsed()


def is_repeatable(method: str, request: object) -> bool:
    """Whether the call is safe to repeat."""
    return method not in NEVER_REPEATED and not getattr(request, "if_version", None)


def is_interruption(error: PgfoxError) -> bool:
    """Whether a stream broke on its way, so that the rest of it can be sent over another connection."""
    code = error.code()
    if code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN):
        return not error.reason and any(sign in error.details() for sign in SIGNS_OF_RESET)
    # This side never cancels and then looks at the result.
    return code == grpc.StatusCode.CANCELLED or error.is_retryable()
