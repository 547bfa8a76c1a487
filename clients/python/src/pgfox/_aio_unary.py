"""The calls of asyncio that have one request and one response."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import grpc
import grpc.aio

from pgfox._methods import Method
from pgfox._retry import Attempts, is_repeatable
from pgfox._settings import CallMetadata, Settings

Request = TypeVar("Request", contravariant=True)
Response = TypeVar("Response", covariant=True)


class UnaryUnary(Generic[Request, Response]):
    """The type of a method with one request and one response, for type checkers. `unary_unary` makes the method."""

    async def __call__(
        self,
        request: Request,
        *,
        timeout: float | None = None,
        metadata: CallMetadata | None = None,
        **options: Any,
    ) -> Response:
        """Calls, and returns the response. Cancelling the task that awaits it cancels the call.

        Args:
            timeout: deadline in seconds over all attempts. Default: that of the client.
            metadata: additional headers.
            options: additional arguments of `grpc.aio`, such as `wait_for_ready=True`.

        Raises:
            PgfoxError: the call failed.
        """
        raise NotImplementedError

    async def with_call(
        self,
        request: Request,
        *,
        timeout: float | None = None,
        metadata: CallMetadata | None = None,
        **options: Any,
    ) -> tuple[Response, grpc.aio.Call]:
        """Like the call itself, but also returns the call of `grpc.aio`, with its headers and trailers."""
        raise NotImplementedError


def unary_unary(inner: Callable[..., Any], method: str, settings: Settings) -> Any:
    """The method as a coroutine function, so that all of asyncio takes what it returns."""
    about = Method(method)

    async def with_call(
        request: Any, *, timeout: float | None = None, metadata: CallMetadata | None = None, **options: Any
    ) -> tuple[Any, Any]:
        about.check(request)
        started = time.monotonic()
        timeout = settings.timeout if timeout is None else timeout
        headers = settings.metadata_and(metadata)
        running = inner(request, timeout=timeout, metadata=headers, **options)
        try:
            return await running, running
        except grpc.RpcError as error:
            failure = settings.error(error)
        attempts = Attempts(started, timeout, settings.retry and is_repeatable(method, request))
        while True:
            await asyncio.sleep(attempts.pause(failure))
            running = inner(request, timeout=attempts.remaining(), metadata=headers, **options)
            try:
                return await running, running
            except grpc.RpcError as error:
                failure = settings.error(error)

    async def call(
        request: Any, *, timeout: float | None = None, metadata: CallMetadata | None = None, **options: Any
    ) -> Any:
        response, _ = await with_call(request, timeout=timeout, metadata=metadata, **options)
        return response

    call.__name__ = about.name
    call.__qualname__ = f"Client.{about.name}"
    call.__doc__ = about.documentation
    call.with_call = with_call  # type: ignore[attr-defined]
    return call
