#!/usr/bin/env python3
"""Checks that Markdown keeps the width of .editorconfig: .ci/markdown.py [--write] [PAGE...]

Code, tables, headings, comments and generated pages may be wider, and so may a line that cannot be broken. `--write`
breaks the lines of the paragraphs that are too wide.
"""

import re
import subprocess
import sys
from pathlib import Path

# What stands between two places to break at: words, with code kept whole.
WORD = re.compile(r"(?:`[^`]*`|\S)+")
# The beginning of a paragraph: an item of a list, a quotation or an indent.
PREFIX = re.compile(r"\s*(?:[-*+] +|\d+[.)] +|> ?)?")
# Lines that are not text.
FENCE = re.compile(r"\s*(```|~~~)")
OTHER = re.compile(r"\s*(\||#{1,6} |<!--|\[[^]]+\]: )")
# A word that would begin something else at the beginning of a line.
MARKER = re.compile(r"([-*+>]|\d+[.)]|#+|[-=]+|[|].*|<!--.*)$")


def git(*arguments: str) -> list[str]:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.split("\0")


def written_by_hand() -> list[str]:
    pages = git("ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md")[:-1]
    attributes = git("check-attr", "-z", "linguist-generated", "--", *pages)
    return [page for page, value in zip(attributes[::3], attributes[2::3]) if value != "set"]


def paragraphs(lines: list[str]):
    """The first and the last line of each paragraph, as a slice."""
    start, fenced = None, False
    for i, line in enumerate([*lines, ""]):
        fence = bool(FENCE.match(line))
        text = not (fence or fenced or OTHER.match(line) or not line.strip())
        if start is not None and (not text or PREFIX.match(line)[0].strip()):
            yield slice(start, i)
            start = None
        if text and start is None:
            start = i
        fenced ^= fence


def words(text: str) -> list[str]:
    found = []
    for word in WORD.findall(text):
        if found and MARKER.match(word):
            found[-1] += " " + word
        else:
            found.append(word)
    return found


def can_be_broken(line: str) -> bool:
    return len(words(line[PREFIX.match(line).end() :])) > 1


def wrapped(lines: list[str], width: int) -> list[str]:
    prefix = PREFIX.match(lines[0])[0]
    indent = prefix if prefix.lstrip().startswith(">") else " " * len(prefix)
    rest = " ".join([lines[0][len(prefix) :], *(line.removeprefix(indent).strip() for line in lines[1:])])
    result, line = [], prefix
    for word in words(rest):
        separator = "" if line in (prefix, indent) else " "
        if separator and len(line) + 1 + len(word) > width:
            result.append(line)
            line, separator = indent, ""
        line += separator + word
    return [*result, line]


def main() -> int:
    width = int(re.search(r"^max_line_length = (\d+)", Path(".editorconfig").read_text(), re.MULTILINE)[1])
    write = "--write" in sys.argv[1:]
    pages = [argument for argument in sys.argv[1:] if argument != "--write"] or written_by_hand()
    faults = []
    for page in pages:
        lines = Path(page).read_text().split("\n")
        # From the end, so that the numbers before it stay right.
        for part in reversed(list(paragraphs(lines))):
            wide = [i for i in range(part.start, part.stop) if len(lines[i]) > width and can_be_broken(lines[i])]
            if wide and write:
                lines[part] = wrapped(lines[part], width)
            else:
                faults += [(page, i + 1, len(lines[i])) for i in wide]
        if write:
            Path(page).write_text("\n".join(lines))
    for page, line, length in sorted(faults):
        print(f"{page}:{line}: {length} characters, at most {width}; .ci/markdown.py --write breaks lines")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
