"""Paths to fields of the metadata, as `Condition.field` spells them."""

from __future__ import annotations

import re

_BARE = re.compile(r"[\w-]+", re.ASCII)


def quoted(key: str) -> str:
    """A key as it stands in a path, in double quotes when it has to be."""
    if _BARE.fullmatch(key):
        return key
    return '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'
