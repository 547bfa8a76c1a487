"""The client for asyncio, like `_client` but over grpc.aio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import grpc.aio

from pgfox._aio_unary import unary_unary
from pgfox._methods import Method
from pgfox._settings import DEFAULT_ENDPOINT, DEFAULT_TIMEOUT, Settings, settings

if TYPE_CHECKING:
    from pgfox.v1.pgfox_service_pb2_grpc import PgfoxServiceAsyncStub
else:
    # The one generated stub serves both; only its types differ.
    from pgfox.v1.pgfox_service_pb2_grpc import PgfoxServiceStub as PgfoxServiceAsyncStub


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

    The arguments and errors are those of `pgfox.connect`. The client belongs to the running event loop, and only tasks
    of that loop may use it. Without a running loop this raises a RuntimeError.
    """
    # Reports this before gRPC takes a loop that nobody runs.
    asyncio.get_running_loop()
    return Client(Channel(settings(endpoint, api_key, ca, timeout, retry, options)))


class Client(PgfoxServiceAsyncStub):
    """The generated stub of pgfox: `await client.Search(v1.SearchRequest(...))`. Made by `connect`."""

    def __init__(self, channel: Channel) -> None:
        super().__init__(channel)  # type: ignore[call-arg]  # the generated types leave it out
        self.channel = channel
        """For other generated stubs, such as that of grpc.health.v1: they call as this client does."""

    async def close(self) -> None:
        """Ends the connection and every running call."""
        await self.channel.close()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<pgfox.aio.Client {self.channel.settings.endpoint}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a pgfox.aio.Client cannot be pickled: call pgfox.aio.connect in each process")


class Channel(grpc.aio.Channel):
    """Calls according to its settings."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        if settings.credentials is None:
            self._inner = grpc.aio.insecure_channel(settings.target, settings.options)
        else:
            self._inner = grpc.aio.secure_channel(settings.target, settings.credentials, settings.options)

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return unary_unary(self._inner.unary_unary(method, *args, **kwargs), method, self.settings)

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return Stream(self._inner.unary_stream(method, *args, **kwargs), method, self.settings)

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return Stream(self._inner.stream_stream(method, *args, **kwargs), method, self.settings)

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError("pgfox has no calls of this kind")

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._inner.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._inner.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._inner.channel_ready()

    async def close(self, grace: float | None = None) -> None:
        await self._inner.close(grace)

    async def __aenter__(self) -> Channel:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class Stream:
    """A method with a stream of responses. It has no deadline unless the call sets one."""

    def __init__(self, inner: Callable[..., Any], method: str, settings: Settings) -> None:
        self._inner = inner
        self._method = Method(method)
        self._settings = settings
        self.__doc__ = self._method.documentation

    def __call__(self, *request: Any, metadata: Any = None, **options: Any) -> StreamCall:
        settings = self._settings
        metadata = settings.metadata_and(metadata)
        return StreamCall(self._inner(*request, metadata=metadata, **options), settings)


class StreamCall:
    """A running call: gRPC's own object, but with pgfox's errors."""

    def __init__(self, inner: Any, settings: Settings) -> None:
        self._inner = inner
        self._settings = settings

    async def __aiter__(self) -> AsyncIterator[Any]:
        messages = aiter(self._inner)
        while True:
            try:
                message = await anext(messages)
            except StopAsyncIteration:
                return
            except grpc.RpcError as error:
                failure = self._settings.error(error)
                break
            yield message
        raise failure

    async def read(self) -> Any:
        return await self._pass(self._inner.read())

    async def write(self, request: Any) -> None:
        await self._pass(self._inner.write(request))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def _pass(self, step: Any) -> Any:
        try:
            return await step
        except grpc.RpcError as error:
            failure = self._settings.error(error)
        # Outside the handler, so that the traceback does not show the inside of gRPC.
        raise failure
