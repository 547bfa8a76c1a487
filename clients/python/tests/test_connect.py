"""Where a client connects, and what it sends with every call."""

from __future__ import annotations

import pickle
from typing import Any

import grpc
import pytest
from conftest import Aio, Sync
from standin import StandIn

import pgfox
from pgfox import v1
from pgfox._settings import settings

CA = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
SEARCH = v1.SearchRequest(collection="c", text="t")


def endpoint_of(endpoint: str, ca: bytes | None = None) -> str:
    return settings(endpoint, None, ca, 30, True, ()).endpoint


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("127.0.0.1:50051", "http://127.0.0.1:50051"),
        (" localhost:1 ", "http://localhost:1"),
        ("http://[::1]:1/", "http://[::1]:1"),
        ("https://pgfox.example", "https://pgfox.example:443"),
        ("http://my_service.ns.svc", "http://my_service.ns.svc:80"),
    ],
)
def test_endpoints(given: str, meant: str) -> None:
    assert endpoint_of(given) == meant


def test_a_ca_means_https() -> None:
    assert endpoint_of("h:1", CA) == "https://h:1"
    with pytest.raises(ValueError, match="write https://"):
        endpoint_of("http://h:1", CA)


@pytest.mark.parametrize(
    "bad",
    ["", "h", "h:", "h:port", "h:0", "h:65536", "ftp://h:1", "http://", "http://h:1/path", "a b:1", "u@h:1", "::1:1"],
)
def test_malformed_endpoints_say_how_to_write_them(bad: str) -> None:
    with pytest.raises(ValueError, match=r"not a server address: (write host:port|the scheme must be http)"):
        pgfox.connect(bad)


def test_arguments_that_cannot_be_used() -> None:
    with pytest.raises(TypeError, match="bytes"):
        pgfox.connect("h:1", ca="file.pem")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="PEM"):
        pgfox.connect("h:1", ca=b"file.pem")
    for timeout in (0, -1, 86_401, float("nan")):
        with pytest.raises(ValueError, match=f"timeout must be above 0 and at most 86400 s, not {timeout}"):
            pgfox.connect("h:1", timeout=timeout)


@pytest.mark.parametrize("key", ["s3cret\nx", "s3cret x", "s3cret\u00e9"])
def test_a_key_that_no_header_can_hold_is_refused_unseen(key: str) -> None:
    with pytest.raises(ValueError, match="API key") as refused:
        pgfox.connect(api_key=key)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("key", [None, "", " \n"])
def test_an_empty_key_is_none(server: StandIn, api: Sync | Aio, key: str | None) -> None:
    api.call(server.endpoint, "Search", SEARCH, api_key=key)
    assert "authorization" not in server.metadata[0]


def test_the_key_is_never_shown(server: StandIn) -> None:
    with pgfox.connect(server.endpoint, api_key="s3cret") as client:
        assert repr(client) == f"<pgfox.Client http://{server.endpoint}>"
        shown: list[Any] = [
            client,
            client.channel,
            client.channel.settings,
            client.Search,
            client.Search.future(SEARCH),
        ]
        assert "s3cret" not in "".join(f"{thing!r} {thing!s}" for thing in shown)
        with pytest.raises(TypeError, match=r"pgfox\.connect in each process"):
            pickle.dumps(client)


def test_every_call_has_the_key_the_deadline_and_the_user_agent(server: StandIn, api: Sync | Aio) -> None:
    api.call(server.endpoint, "Search", SEARCH, api_key=" s3cret ")
    assert server.metadata[0]["authorization"] == "Bearer s3cret"
    assert server.metadata[0]["user-agent"].startswith(f"pgfox-python/{pgfox.__version__} ")
    assert 25 < server.time_remaining[0] <= 30.1
    api.call(server.endpoint, "Search", SEARCH, timeout=5)
    assert 4 < server.time_remaining[1] <= 5.1
    api.stream(server.endpoint, "BuildIndex", v1.BuildIndexRequest(collection="c"), api_key="s3cret")
    assert server.metadata[-1]["authorization"] == "Bearer s3cret"
    assert server.time_remaining[-1] == float("inf")


def test_metadata_of_the_caller_is_sent_beside_the_key(server: StandIn) -> None:
    with pgfox.connect(server.endpoint, api_key="s3cret") as client:
        response, call = client.Search.with_call(SEARCH, metadata=(("x-request-id", "mine"),))
        assert response.results[0].document.id == "found"
        assert call.code() == grpc.StatusCode.OK
        assert client.Search.future(SEARCH).result().results
    assert server.metadata[0]["x-request-id"] == "mine"
    assert [metadata["authorization"] for metadata in server.metadata] == ["Bearer s3cret"] * 2


def test_messages_of_16_mib_pass(server: StandIn, api: Sync | Aio) -> None:
    server.text = "x" * ((16 << 20) - 100)
    response = api.call(server.endpoint, "Search", SEARCH)
    assert len(response.results[0].document.text) == len(server.text)
    api.call(server.endpoint, "Ingest", v1.IngestRequest(documents=[{"id": "a", "text": server.text}]))
    with pytest.raises(pgfox.ResourceExhaustedError) as refused:
        api.call(server.endpoint, "Search", SEARCH, options=[("grpc.max_receive_message_length", 1000)])
    assert refused.value.attempts == 1


def test_a_client_of_asyncio_needs_a_running_loop() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        pgfox.aio.connect()


def test_v1_has_every_message_and_enum() -> None:
    from pgfox.v1 import collections_pb2, documents_pb2, errors_pb2, filter_pb2, indexes_pb2, search_pb2

    for module in (collections_pb2, documents_pb2, errors_pb2, filter_pb2, indexes_pb2, search_pb2):
        descriptor = module.DESCRIPTOR
        for name in (*descriptor.message_types_by_name, *descriptor.enum_types_by_name):
            assert getattr(v1, name) is getattr(module, name)
