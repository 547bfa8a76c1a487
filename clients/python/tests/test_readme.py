"""The README shows the quickstart as it is. tests/docs/run.py of the repository runs everything else in it."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parents[1]


def test_the_readme_shows_the_quickstart() -> None:
    quickstart = (FOLDER / "examples/quickstart.py").read_text()
    assert f"```python\n{quickstart}```\n" in (FOLDER / "README.md").read_text()
