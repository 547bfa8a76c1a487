"""Checks the arguments of `connect`: the address of the server, and how to call it."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeAlias

import grpc

from pgfox._errors import PgfoxError
from pgfox._version import __version__

DEFAULT_ENDPOINT = "127.0.0.1:50051"
DEFAULT_TIMEOUT = 30.0
# Maximum value of every timeout option in seconds: one day.
MAX_TIMEOUT = 86_400

# The server's limit of 16 MiB, and a little for the frame of a message.
MAX_MESSAGE_BYTES = (16 << 20) + (64 << 10)

Metadata = tuple[tuple[str, str | bytes], ...]
CallMetadata: TypeAlias = Iterable[tuple[str, str | bytes]] | dict[str, str]
"""Headers of one call: pairs, or a dict."""


@dataclass(frozen=True)
class Settings:
    """How a client calls. Its repr never shows the API key."""

    endpoint: str
    target: str
    timeout: float
    retry: bool
    metadata: Metadata = field(repr=False)
    credentials: grpc.ChannelCredentials | None = field(repr=False)
    options: tuple[tuple[str, Any], ...] = field(repr=False)

    def metadata_and(self, own: Any) -> Any:
        """The metadata of a call: the caller's own, and the API key."""
        if own is None:
            return self.metadata
        return (*(own.items() if isinstance(own, dict) else own), *self.metadata)

    def error(self, error: grpc.RpcError) -> PgfoxError:
        """Converts an error of gRPC to one of pgfox's."""
        return PgfoxError.of(error, self.endpoint)


def settings(
    endpoint: str,
    api_key: str | None,
    ca: bytes | None,
    timeout: float,
    retry: bool,
    options: Sequence[tuple[str, Any]],
) -> Settings:
    if ca is not None and not isinstance(ca, bytes):
        raise TypeError("ca is the certificate in PEM as bytes, such as Path(file).read_bytes()")
    if ca is not None and b"-----BEGIN CERTIFICATE-----" not in ca:
        raise ValueError("ca contains no certificate in PEM")
    check_timeout("timeout", timeout)
    scheme, target = _parse(endpoint, ca)
    return Settings(
        endpoint=f"{scheme}://{target}",
        target=target,
        timeout=timeout,
        retry=retry,
        metadata=_authorization(api_key),
        credentials=grpc.ssl_channel_credentials(ca or _system_roots()) if scheme == "https" else None,
        # If two arguments have the same name, gRPC uses the first.
        options=(
            *options,
            ("grpc.primary_user_agent", f"pgfox-python/{__version__}"),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.keepalive_time_ms", 20_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.keepalive_permit_without_calls", 1),
            # Without this gRPC stops pinging after two pings without a call.
            ("grpc.http2.max_pings_without_data", 0),
            # A headless service of Kubernetes has an address for every server.
            ("grpc.lb_policy_name", "round_robin"),
            # Otherwise gRPC waits up to two minutes before it checks whether the server is back.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 5_000),
            # This is also the maximum time to connect.
            ("grpc.min_reconnect_backoff_ms", 10_000),
            # If every server of the name is gone, look for new ones sooner than after 30 seconds.
            ("grpc.dns_min_time_between_resolutions_ms", 5_000),
        ),
    )


def check_count(name: str, value: int, largest: int) -> None:
    """Refuses a count that is not 1 to `largest`."""
    if not isinstance(value, Integral) or not 1 <= value <= largest:
        raise ValueError(f"{name} must be 1 to {largest}, not {value!r}")


def check_timeout(name: str, value: float, *, may_be_zero: bool = False) -> None:
    """Refuses seconds that are negative or more than a day."""
    if not isinstance(value, Real) or not 0 <= value <= MAX_TIMEOUT or (value == 0 and not may_be_zero):
        least = "0 to" if may_be_zero else "above 0 and at most"
        raise ValueError(f"{name} must be {least} {MAX_TIMEOUT} s, not {value!r}")


def _parse(endpoint: str, ca: bytes | None) -> tuple[str, str]:
    """Scheme and `host:port`."""
    parts = re.fullmatch(
        r"(?:(?P<scheme>\w+)://)?(?P<host>[\w.-]+|\[[0-9a-fA-F:.]+\])(?::(?P<port>\d+))?(?P<slash>/?)",
        endpoint.strip(),
        re.ASCII,
    )
    scheme = parts["scheme"] if parts else None
    port = int(parts["port"]) if parts and parts["port"] else {"http": 80, "https": 443}.get(scheme or "")
    reason = ""
    if scheme not in (None, "http", "https"):
        reason = "the scheme must be http or https"
    elif parts is None or port is None or not 0 < port < 65536 or (parts["slash"] and not scheme):
        reason = "write host:port, http://host:port or https://host:port"
    elif scheme == "http" and ca is not None:
        reason = "http:// uses no TLS, so the CA would be ignored; write https://"
    if reason or parts is None:
        raise ValueError(f"`{endpoint}` is not a server address: {reason}")
    return scheme or ("https" if ca is not None else "http"), f"{parts['host']}:{port}"


def _authorization(api_key: str | None) -> Metadata:
    # Compose and similar tools pass an unset environment variable as an empty one.
    api_key = (api_key or "").strip()
    if not api_key:
        return ()
    if not re.fullmatch(r"[!-~]+", api_key):
        # Without the key, since this text ends up in logs.
        raise ValueError("the API key may contain only visible ASCII characters")
    return (("authorization", f"Bearer {api_key}"),)


def _system_roots() -> bytes | None:
    """The certificates that this machine trusts. None: those that come with gRPC or are configured for it."""
    if "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH" in os.environ:
        return None
    paths = ssl.get_default_verify_paths()
    # Debian has a folder of certificates, and beside it a file with all of them.
    for file in (paths.cafile, paths.capath and os.path.join(paths.capath, "ca-certificates.crt")):
        if file and os.path.isfile(file):
            return Path(file).read_bytes()
    return None
