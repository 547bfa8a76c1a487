"""Paths of metadata fields, in the form of `Condition.field`."""

from __future__ import annotations

import re

_BARE = re.compile(r"[\w-]+", re.ASCII)


def quoted(key: str) -> str:
    """A key in the form that paths use, in double quotes if necessary."""
    if _BARE.fullmatch(key):
        return key
    return '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'
