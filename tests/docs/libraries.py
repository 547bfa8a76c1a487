#!/usr/bin/env python3
"""Attaches tables that other libraries make, by the commands of docs/attach.md: tests/docs/libraries.py [--bin-dir FOLDER]

Installs the libraries from PyPI, lets them make their tables (library_tables.py), and runs the commands that name these
tables. Each collection must find a text, filter by a field, and take a document where its table allows it.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pages
from run import ROOT, bin_dir
from sessions import Bash, Failure, Server

HERE = Path(__file__).resolve().parent
PAGE = "docs/attach.md"

TEXTS = r"""
pgfox ingest texts --create --quiet --format jsonl - <<'END'
{"id": "1", "text": "Foxes are omnivores: predators of small animals that also eat fruit"}
{"id": "2", "text": "Foxes can make over 40 different sounds"}
{"id": "3", "text": "Foxes use the magnetic field of the Earth when they hunt"}
END
"""


@dataclass
class Table:
    """A table of a library: the name of its collection on the page, a filter that all rows match, and a row to ingest."""

    name: str
    collection: str
    filter: str
    # None: its text is made of several columns.
    document: str | None


TABLES = [
    Table("langchain_pg_embedding", "pages", 'source = "book"', '{"id": "new", "text": "Baby foxes are called kits"}'),
    Table(
        "my_store",
        "pages",
        'source = "book"',
        '{"id": "123e4567-e89b-12d3-a456-426614174000", "text": "Baby foxes are called kits"}',
    ),
    Table("data_llamaindex", "pages", 'source = "book"', '{"id": "77", "text": "Baby foxes are called kits"}'),
    Table("library_book", "books", 'source = "book"', None),
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin-dir", type=Path, help="folder of pgfox and pgfox-server; default: target/release or target/debug")
    options = parser.parse_args()
    blocks = pages.read(ROOT, PAGE).blocks
    folder = Path(tempfile.mkdtemp(prefix="pgfox-docs-"))
    folder.chmod(0o755)  # as root, PostgreSQL runs as another user
    server = None
    try:
        server = Server(bin_dir(options.bin_dir), folder)
        venv = install()
        bash = Bash(folder, server.environment)
        bash.run(TEXTS)
        url = bash.run("pgfox-server database-url").strip()
        subprocess.run([venv / "bin/python", HERE / "library_tables.py", url], env=server.environment, check=True, timeout=300)
        bash.close()
        failed = [table.name for table in TABLES if not passes(server, folder, blocks, table)]
    finally:
        if server:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if failed else 0


def install() -> Path:
    """A venv with the libraries. It stays, since fetching them takes a minute."""
    venv = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "docs/libraries"
    if not (venv / "bin/pip").exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    pip = [venv / "bin/pip", "install", "--quiet", "--disable-pip-version-check", "-r", HERE / "libraries-requirements.txt"]
    subprocess.run(pip, check=True, timeout=600)
    return venv


def passes(server: Server, folder: Path, blocks: list[pages.Block], table: Table) -> bool:
    """Runs the command of the page for a table, uses the collection, and prints a line about it."""
    server.clear()
    bash = Bash(folder, server.environment)
    attach = [block.text for block in blocks if f"--table {table.name} " in block.text]
    try:
        if len(attach) != 1:
            raise Failure(0, f"{PAGE} has {len(attach)} commands for this table")
        bash.run(attach[0])
        filtered = f"--where '{table.filter}'"
        expect(bash, f'pgfox search {table.collection} "how many sounds can foxes make?" --limit 1 {filtered}', "40 different sounds")
        expect(bash, f"pgfox count {table.collection} {filtered}", "3")
        if table.document:
            bash.run(f"pgfox ingest {table.collection} --quiet --format jsonl - <<'END'\n{table.document}\nEND\n")
            expect(bash, f'pgfox search {table.collection} "the young of a fox" --limit 1', "called kits")
    except Failure as failure:
        print(f"FAILED  {table.name}: {failure}", flush=True)
        return False
    finally:
        bash.close()
    print(f"ok      {table.name}", flush=True)
    return True


def expect(bash: Bash, command: str, text: str) -> None:
    printed = bash.run(command)
    if text not in printed:
        raise Failure(0, f"`{command}` printed no {text!r}:\n{printed}")


if __name__ == "__main__":
    sys.exit(main())
