"""The README's Python works as it stands there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from standin import Failure, StandIn

import pgfox
from pgfox import v1

FOLDER = Path(__file__).parents[1]
README = (FOLDER / "README.md").read_text()
QUICKSTART = (FOLDER / "examples/quickstart.py").read_text()


def snippets() -> Iterator[str]:
    for snippet in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        # It is run by tests/clients/python/run.sh, as is the one of asyncio.
        if snippet != QUICKSTART and "await" not in snippet:
            yield snippet


def test_the_readme_shows_the_quickstart() -> None:
    assert f"```python\n{QUICKSTART}```\n" in README


@pytest.mark.parametrize("snippet", list(snippets()), ids=lambda snippet: snippet.splitlines()[0][:40])
def test_a_snippet(server: StandIn, snippet: str, capsys: pytest.CaptureFixture[str]) -> None:
    if "except" in snippet:
        rule = "must be 0 to 1000, not -1"
        server.failures.append(
            Failure(grpc.StatusCode.INVALID_ARGUMENT, f"limit {rule}", "INVALID_FIELD", violations={"limit": rule})
        )
    # The one server there is has no TLS.
    snippet = snippet.replace("https://pgfox.example:50051", server.endpoint)
    with pgfox.connect(server.endpoint) as client:
        names: dict[str, Any] = {
            "pgfox": pgfox,
            "v1": v1,
            "client": client,
            "request": v1.SearchRequest(),
            "rows": [SimpleNamespace(id="1", plot="A heist.")],
            "embedding": [0.5, 1.5],
            "document": v1.Document(vector=pgfox.vector([0.5, 1.5])),
        }
        exec(snippet, names)
    if "except" in snippet:
        assert f"print(error)  # {capsys.readouterr().out}" in snippet
