"""The client: the generated stub over a channel that adds the deadline, the API key, retries and pgfox's errors.

gRPC has interceptors for this, which put every call on a slower path of its own. A channel around the channel costs
next to nothing; `benchmarks/overhead.py` measures it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, NoReturn

import grpc

from pgfox._methods import Method
from pgfox._retry import Attempts, is_repeatable
from pgfox._settings import DEFAULT_ENDPOINT, DEFAULT_TIMEOUT, Settings, settings
from pgfox.v1.pgfox_service_pb2_grpc import PgfoxServiceStub


def connect(
    endpoint: str = DEFAULT_ENDPOINT,
    *,
    api_key: str | None = None,
    ca: bytes | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    retry: bool = True,
    options: Sequence[tuple[str, Any]] = (),
) -> Client:
    """Returns a client of the server at `endpoint`. It connects with the first call, and reconnects when necessary.

    Threads may share it, processes may not. After a fork, for example by gunicorn or multiprocessing, connect in the
    child.

    Args:
        endpoint: `host:port`, `http://host:port` or `https://host:port`. Without a scheme: https if `ca` is set, else
            http. Calls are spread over all addresses of the name.
        api_key: sent with every call as `authorization: Bearer <key>`, and never shown. None or empty: no key is sent.
        ca: trusted CA certificates in PEM. Default: those of the system.
        timeout: deadline in seconds of every call except IngestStream and BuildIndex, for all attempts together. Above
            0 and at most 86,400, one day. A call can set its own: `client.Search(request, timeout=5)`.
        retry: retry calls within their deadline if the server cannot be reached or says when to come back.
        options: additional arguments of the gRPC channel, such as `("grpc.max_receive_message_length", 64 << 20)`.

    Raises:
        ValueError: an argument cannot be used; the text says what to write.
    """
    return Client(Channel(settings(endpoint, api_key, ca, timeout, retry, options)))


class Client(PgfoxServiceStub):
    """The generated stub of pgfox: `client.Search(v1.SearchRequest(...))`. Made by `connect`."""

    def __init__(self, channel: Channel) -> None:
        super().__init__(channel)
        self.channel = channel
        """For other generated stubs, such as that of grpc.health.v1: they call as this client does."""

    def close(self) -> None:
        """Ends the connection and every running call."""
        self.channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<pgfox.Client {self.channel.settings.endpoint}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a pgfox.Client cannot be pickled: call pgfox.connect in each process")


class Channel(grpc.Channel):
    """Calls according to its settings."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        if settings.credentials is None:
            self._inner = grpc.insecure_channel(settings.target, settings.options)
        else:
            self._inner = grpc.secure_channel(settings.target, settings.credentials, settings.options)

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return UnaryUnary(self._inner.unary_unary(method, *args, **kwargs), method, self.settings)

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return Stream(self._inner.unary_stream(method, *args, **kwargs), method, self.settings)

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return Stream(self._inner.stream_stream(method, *args, **kwargs), method, self.settings)

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError("pgfox has no calls of this kind")

    def subscribe(self, callback: Callable[[grpc.ChannelConnectivity], None], try_to_connect: bool = False) -> None:
        self._inner.subscribe(callback, try_to_connect)

    def unsubscribe(self, callback: Callable[[grpc.ChannelConnectivity], None]) -> None:
        self._inner.unsubscribe(callback)

    def close(self) -> None:
        self._inner.close()


class UnaryUnary:
    """A method with one request and one response."""

    def __init__(self, inner: Any, method: str, settings: Settings) -> None:
        self._inner = inner
        self._method = method
        self._about = Method(method)
        self._settings = settings
        self.__doc__ = self._about.documentation

    def __call__(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        return self._call(self._inner, request, *args, **kwargs)

    def with_call(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        return self._call(self._inner.with_call, request, *args, **kwargs)

    def future(
        self, request: Any, timeout: float | None = None, metadata: Any = None, *args: Any, **kwargs: Any
    ) -> Call:
        """Starts the call and returns at once. It is not retried, since nobody waits for it."""
        self._about.check(request)
        settings = self._settings
        timeout = settings.timeout if timeout is None else timeout
        inner = self._inner.future(request, timeout, settings.metadata_and(metadata), *args, **kwargs)
        return Call(inner, settings)

    def _call(
        self,
        call: Callable[..., Any],
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        self._about.check(request)
        settings = self._settings
        timeout = settings.timeout if timeout is None else timeout
        metadata = settings.metadata_and(metadata)
        started = time.monotonic()
        try:
            return call(request, timeout, metadata, *args, **kwargs)
        except grpc.RpcError as error:
            failure = settings.error(error)
        attempts = Attempts(started, timeout, settings.retry and is_repeatable(self._method, request))
        while True:
            time.sleep(attempts.pause(failure))
            try:
                return call(request, attempts.remaining(), metadata, *args, **kwargs)
            except grpc.RpcError as error:
                failure = settings.error(error)


class Stream:
    """A method with a stream of responses. It has no deadline unless the call sets one."""

    def __init__(self, inner: Callable[..., Any], method: str, settings: Settings) -> None:
        self._inner = inner
        self._settings = settings
        self.__doc__ = Method(method).documentation

    def __call__(
        self, request: Any, timeout: float | None = None, metadata: Any = None, *args: Any, **kwargs: Any
    ) -> Call:
        settings = self._settings
        inner = self._inner(request, timeout, settings.metadata_and(metadata), *args, **kwargs)
        return Call(inner, settings)


class Call:
    """A running call: gRPC's own object, but with pgfox's errors."""

    def __init__(self, inner: Any, settings: Settings) -> None:
        self._inner = inner
        self._settings = settings

    def __iter__(self) -> Call:
        return self

    def __next__(self) -> Any:
        return self._pass(self._inner.__next__)

    def result(self, timeout: float | None = None) -> Any:
        return self._pass(self._inner.result, timeout)

    def exception(self, timeout: float | None = None) -> Any:
        error = self._inner.exception(timeout)
        return self._settings.error(error) if isinstance(error, grpc.RpcError) else error

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self._inner.add_done_callback(lambda _: callback(self))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def _pass(self, step: Callable[..., Any], *args: Any) -> Any:
        try:
            return step(*args)
        except grpc.RpcError as error:
            failure = self._settings.error(error)
        # Outside the handler, so that the traceback does not show the inside of gRPC.
        raise failure
