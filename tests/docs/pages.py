"""Reads the pages: their fenced blocks, what a block may show, and where links lead."""

import json
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

FENCE = re.compile(r"^( *)(```+|~~~+)\s*([\w+-]*)")
NOT_RUN = re.compile(r"^\s*<!-- not run:(.*)-->\s*$")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")

# What executes a block.
RUN = {"sh", "python", "sql"}
# Blocks that must stand in a file that something else compiles or checks, and the folders of such files.
SHOWN = {
    "go": (["clients/go", "tests/clients/go"], [".go"]),
    "java": (["clients/java", "tests/clients/java"], [".java"]),
    "rust": (["client", "tests/clients/rust"], [".rs"]),
    "typescript": (["clients/typescript", "tests/clients/typescript"], [".ts", ".tsx"]),
    "ts": (["clients/typescript", "tests/clients/typescript"], [".ts", ".tsx"]),
    "proto": (["proto"], [".proto"]),
    "dockerfile": (["deploy"], ["Dockerfile"]),
    "ini": (["deploy"], [".service"]),
}
# Blocks that are read by a parser of their language.
PARSED = {"json", "yaml", "toml", "xml"}
# Blocks that show output: compared when they follow a block that runs, else an illustration.
OUTPUT = {"text", ""}


@dataclass
class Block:
    """A fenced block: its language, the line of its first line of text, and what it holds."""

    kind: str
    line: int
    text: str
    # Why it does not run; None: it does.
    not_run: str | None = None
    # Where its output is shown; None: nowhere.
    output: "Block | None" = None


@dataclass
class Page:
    """A page of Markdown, named by its path in the project."""

    name: str
    blocks: list[Block] = field(default_factory=list)
    # What is wrong with the page itself: line and text.
    faults: list[tuple[int, str]] = field(default_factory=list)

    def fault(self, line: int, text: str) -> None:
        self.faults.append((line, text))


def read(root: Path, name: str) -> Page:
    """Reads the blocks of a page, and checks those that need no server."""
    page = Page(name)
    lines = (root / name).read_text().splitlines()
    prose = []
    last: Block | None = None
    reason = None
    i = 0
    while i < len(lines):
        fence = FENCE.match(lines[i])
        if not fence:
            prose.append((i + 1, lines[i]))
            if marked := NOT_RUN.match(lines[i]):
                reason = (i + 1, marked.group(1).strip())
                last = None
            elif lines[i].strip():
                if reason:
                    page.fault(reason[0], "`not run` stands directly before a block")
                last = reason = None
            i += 1
            continue
        indent, mark, kind = fence.groups()
        end = next((j for j in range(i + 1, len(lines)) if lines[j].strip() == mark), None)
        if end is None:
            page.fault(i + 1, "this block has no end")
            break
        text = "\n".join(line.removeprefix(indent) for line in lines[i + 1 : end]) + "\n"
        block = Block(kind, i + 2, text, reason[1] if reason else None)
        reason = None
        if block.not_run == "":
            page.fault(i, "`not run` says why: <!-- not run: REASON -->")
        if kind in OUTPUT:
            if text.startswith("$ "):
                page.fault(i + 2, "a command in a block of output is not run: write it in a `sh` block before")
            if last and last.kind in RUN and last.not_run is None:
                last.output = block
            last = None
        elif kind in RUN | SHOWN.keys() | PARSED:
            page.blocks.append(block)
            last = block
        else:
            page.fault(i + 1, f"the runner does not know blocks of {kind!r}; see tests/docs/pages.py")
        i = end + 1
    check_links(root, page, prose)
    for block in page.blocks:
        if block.not_run is None and (fault := static_fault(root, block)):
            page.fault(block.line, fault)
    return page


def static_fault(root: Path, block: Block) -> str | None:
    """What is wrong with a block that is shown or parsed only."""
    if block.kind in SHOWN:
        folders, endings = SHOWN[block.kind]
        files = [f for folder in folders for f in sorted((root / folder).rglob("*")) if f.name.endswith(tuple(endings))]
        files = [f for f in files if "node_modules" not in f.parts and "target" not in f.parts]
        if not any(stands_in(block.text, f.read_text()) for f in files):
            return f"this block stands in no {' or '.join(endings)} file under {' or '.join(folders)}"
    try:
        if block.kind == "json":
            try:
                json.loads(block.text)
            except ValueError:
                # JSON Lines: a document per line.
                for line in filter(str.strip, block.text.splitlines()):
                    json.loads(line)
        elif block.kind == "toml":
            tomllib.loads(block.text)
        elif block.kind == "xml":
            ElementTree.fromstring(block.text)
    except (ValueError, ElementTree.ParseError) as error:
        return f"this is no {block.kind}: {error}"
    return None


def stands_in(block: str, file: str) -> bool:
    """Whether the lines of a block follow each other in a file; indentation and empty lines do not count, and a comment
    of `...` stands for any lines."""
    wanted = [line.strip() for line in block.splitlines() if line.strip()]
    there = [line.strip() for line in file.splitlines() if line.strip()]
    parts: list[list[str]] = [[]]
    for line in wanted:
        if line in ("// ...", "# ..."):
            parts.append([])
        else:
            parts[-1].append(line)
    at = 0
    for part in parts:
        at = next((i + len(part) for i in range(at, len(there) + 1) if there[i : i + len(part)] == part), -1)
        if at < 0:
            return False
    return True


def matches(shown: str, real: str) -> bool:
    """Whether output is as shown: `...` stands for anything in a line, and alone on a line for any lines."""
    pattern = ""
    for line in shown.strip("\n").splitlines():
        if line.strip() == "...":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += r".*".join(re.escape(part) for part in line.rstrip().split("...")) + r"\s*?\n"
    text = "".join(line.rstrip() + "\n" for line in real.strip("\n").splitlines())
    return re.fullmatch(pattern, text) is not None


def check_links(root: Path, page: Page, prose: list[tuple[int, str]]) -> None:
    """Links to files and headings of the project lead somewhere."""
    for number, line in prose:
        for target in LINK.findall(re.sub(r"`[^`]*`", "", line)):
            if re.match(r"\w+:", target):
                continue
            path, _, anchor = target.partition("#")
            file = (root / page.name).parent / path if path else root / page.name
            if not file.exists():
                page.fault(number, f"the link to {target} leads nowhere")
            elif anchor and file.suffix == ".md" and anchor not in anchors(file):
                page.fault(number, f"there is no heading for the link to {target}")


def anchors(file: Path) -> set[str]:
    """The anchors that GitHub gives to headings."""
    found = set()
    is_code = False
    for line in file.read_text().splitlines():
        is_code ^= FENCE.match(line) is not None
        if not is_code and (heading := re.match(r"#+ (.*)", line)):
            text = re.sub(r"[^\w\- ]", "", heading.group(1).lower())
            found.add(text.replace(" ", "-"))
    return found
