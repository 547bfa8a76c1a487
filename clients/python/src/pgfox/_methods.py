"""The methods of the proto."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from pgfox.v1 import pgfox_service_pb2
from pgfox.v1.pgfox_service_pb2_grpc import PgfoxServiceServicer

_SERVICE = pgfox_service_pb2.DESCRIPTOR.services_by_name["PgfoxService"]


class Method:
    """A method by its path, such as `/pgfox.v1.PgfoxService/Search`; channels also call those of other services."""

    def __init__(self, path: str) -> None:
        service, _, self.name = path.lstrip("/").rpartition("/")
        is_ours = service == _SERVICE.full_name
        self.documentation: str | None = getattr(PgfoxServiceServicer, self.name).__doc__ if is_ours else None
        self._request: Any = GetMessageClass(_SERVICE.methods_by_name[self.name].input_type) if is_ours else Message

    def check(self, request: object) -> None:
        """Refuses anything but a request: gRPC would log a traceback and report an internal error."""
        if not isinstance(request, self._request):
            kind = self._request.__name__
            raise TypeError(f"{self.name} takes a v1.{kind}, not a {type(request).__name__}: v1.{kind}(...)")


def refuse_client(client: object, kind: type, remedy: str) -> None:
    """Refuses a client of this kind if the other kind is needed."""
    if isinstance(client, kind):
        raise TypeError(f"{client!r} cannot be used here: write {remedy}")
