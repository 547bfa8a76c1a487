#!/usr/bin/env python3
"""Executes the blocks of the documentation against a real server: tests/docs/run.py [PAGE...]

Each page is read as a user reads it: from top to bottom, in a fresh copy of the project, on a server without collections.

- `sh` blocks run in one bash, `python` blocks in one Python with the client of clients/python, `sql` blocks by psql.
- A `text` block directly after one of them is its output; `...` stands for what differs from run to run.
- `go`, `typescript`, `java`, `rust`, `proto` blocks must stand in a file that is compiled elsewhere; `json`, `yaml`,
  `toml` and `xml` must be readable.
- 127.0.0.1:50051 is replaced by the address of the server of the test, which PGFOX_SERVER names too.
- `<!-- not run: REASON -->` directly before a block leaves it out; the end lists these.
- Links to files and headings of the project must lead there.
"""

import argparse
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pages
from sessions import DOCUMENTED, Bash, Failure, Python, Server, make_venv

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", "docs/*.md", "client/README.md", "clients/*/README.md", "deploy/**/*.md", "examples/**/*.md"]
# Pages of a package are read in its folder, all others in that of the project.
PACKAGES = ("clients/",)

# Tools of a language: where one is missing, its blocks are left out and listed.
TOOLCHAINS = {"go", "java", "mvn", "node", "npm", "npx"}
# Other programs that blocks use: where one is missing, the page fails, unless --skip-missing is given.
TOOLS = {"buf", "curl", "docker", "ghz", "grpcurl", "helm", "jq", "kubectl", "openssl", "psql"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", metavar="PAGE", help="path in the project; default: all")
    parser.add_argument("--bin-dir", type=Path, help="folder of pgfox and pgfox-server; default: target/release or target/debug")
    parser.add_argument("--skip-missing", action="store_true", help="leave out blocks whose program is not installed")
    options = parser.parse_args()
    # A signal that stops the tests also stops the server and the blocks.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))

    names = options.pages or sorted({str(p.relative_to(ROOT)) for glob in PAGES for p in ROOT.glob(glob)} - ignored())
    for name in names:
        if not (ROOT / name).is_file():
            parser.error(f"there is no page {name}; pages are named by their path in the project")
    read = [pages.read(ROOT, name) for name in names]
    folder = Path(tempfile.mkdtemp(prefix="pgfox-docs-"))
    folder.chmod(0o755)  # as root, PostgreSQL runs as another user
    server = None
    try:
        server = Server(bin_dir(options.bin_dir), folder)
        runner = Runner(server, folder, options.skip_missing)
        passed = [runner.page(page) for page in read].count(True)
    finally:
        if server:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    if runner.not_run:
        print(f"\n{len(runner.not_run)} not run:")
        for place, reason in runner.not_run:
            print(f"  {place}: {reason}")
    print(f"\n{passed} passed, {len(read) - passed} failed")
    return 0 if passed == len(read) else 1


def bin_dir(given: Path | None) -> Path:
    for folder in [given] if given else [ROOT / "target/release", ROOT / "target/debug"]:
        if (folder / "pgfox").exists() and (folder / "pgfox-server").exists():
            return folder.resolve()
    raise SystemExit("pgfox and pgfox-server are missing: run `cargo build --release`, or name their folder by --bin-dir")


def tracked() -> list[str]:
    """The files of the project, new ones included, but not what is built."""
    command = ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    return [name for name in subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0") if name]


def ignored() -> set[str]:
    """Pages that are no files of the project, such as those in node_modules."""
    return {str(p.relative_to(ROOT)) for glob in PAGES for p in ROOT.glob(glob)} - set(tracked())


class Runner:
    """Runs pages one after the other, and remembers what it left out."""

    def __init__(self, server: Server, folder: Path, skip_missing: bool):
        self.server = server
        self.folder = folder
        self.skip_missing = skip_missing
        self.venv: Path | None = None
        self.not_run: list[tuple[str, str]] = []

    def page(self, page: pages.Page) -> bool:
        """Runs a page, prints a line about it, and returns whether it passed."""
        began = time.monotonic()
        for block in page.blocks:
            if block.not_run:
                self.not_run.append((f"{page.name}:{block.line}", block.not_run))
        blocks = [block for block in page.blocks if block.not_run is None and block.kind in pages.RUN]
        blocks = [block for block in blocks if not self.is_left_out(page, block)]
        faults = [*page.faults, *self.yaml_faults(page)]
        if blocks:
            copy = self.folder / "project"
            self.copy(copy)
            try:
                faults += self.blocks(page, blocks, copy)
            finally:
                shutil.rmtree(copy, ignore_errors=True)
        seconds = f"{time.monotonic() - began:.1f} s"
        if not faults:
            print(f"ok      {page.name}: {len(blocks)} blocks run, {seconds}", flush=True)
            return True
        print(f"FAILED  {page.name}: {seconds}", flush=True)
        for line, text in sorted(faults):
            print(f"  {page.name}:{line}: " + text.rstrip().replace("\n", "\n    "), flush=True)
        return False

    def is_left_out(self, page: pages.Page, block: pages.Block) -> bool:
        """Whether a program that the block needs is not here; unless that may be, it is a fault of the page."""
        text = "psql" if block.kind == "sql" else block.text if block.kind == "sh" else ""
        words = set(re.findall(r"(?:^|[|&;(]|\$\()\s*(?:\w+=\S+\s+)*([\w.-]+)", text, re.MULTILINE))
        path = self.server.environment["PATH"]
        for tool in sorted(words & (TOOLCHAINS | TOOLS)):
            if shutil.which(tool, path=path):
                continue
            if tool in TOOLCHAINS or self.skip_missing:
                self.not_run.append((f"{page.name}:{block.line}", f"{tool} is not installed"))
                return True
            page.fault(block.line, f"{tool} is not installed; --skip-missing leaves such blocks out")
        return False

    def blocks(self, page: pages.Page, blocks: list[pages.Block], copy: Path) -> list[tuple[int, str]]:
        """Runs the blocks of a page until one fails."""
        self.server.clear()
        cwd = (copy / page.name).parent if page.name.startswith(PACKAGES) else copy
        environment = dict(self.server.environment)
        if any(block.kind == "python" or re.search(r"\b(pip|python3?)\b", block.text) for block in blocks):
            venv = self.make_venv()
            environment |= {"VIRTUAL_ENV": str(venv), "PATH": f"{venv}/bin:{environment['PATH']}"}
        bash = Bash(cwd, environment)
        python = Python(cwd, environment, page.name) if any(block.kind == "python" for block in blocks) else None
        try:
            for block in blocks:
                text = DOCUMENTED.sub(self.server.address, block.text)
                try:
                    if block.kind == "python":
                        python.line = block.line
                        printed = python.run(text)
                    elif block.kind == "sql":
                        printed = bash.run(f'psql -X -v ON_ERROR_STOP=1 "$(pgfox-server database-url)" -c {shlex.quote(text)}')
                    else:
                        printed = bash.run(text)
                except Failure as failure:
                    return [(block.line + max(failure.line - 1, 0), str(failure))]
                if block.output and not pages.matches(DOCUMENTED.sub(self.server.address, block.output.text), printed):
                    return [(block.output.line, f"the output is another one:\n{printed}")]
        finally:
            bash.close()
            if python:
                python.close()
        return []

    def yaml_faults(self, page: pages.Page) -> list[tuple[int, str]]:
        """Blocks of YAML that cannot be read. The standard library has no parser, so the venv has one."""
        faults = []
        for block in page.blocks:
            if block.kind == "yaml" and block.not_run is None:
                command = [self.make_venv() / "bin/python", "-c", "import sys, yaml; list(yaml.safe_load_all(sys.stdin))"]
                result = subprocess.run(command, input=block.text, capture_output=True, text=True, timeout=60)
                if result.returncode:
                    faults.append((block.line, f"this is no yaml: {result.stderr.splitlines()[-1]}"))
        return faults

    def make_venv(self) -> Path:
        self.venv = self.venv or make_venv(ROOT, self.folder, ["pyyaml"])
        return self.venv

    @staticmethod
    def copy(to: Path) -> None:
        """Copies the project as a fresh checkout has it, so that nothing that a page makes is left in it."""
        for name in tracked():
            source = ROOT / name
            if source.is_file():
                (to / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, to / name)


if __name__ == "__main__":
    sys.exit(main())
