"""What blocks run in: a server, one bash and one Python per page."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

START_TIMEOUT = 300  # seconds; the first start fetches PostgreSQL and the model
BLOCK_TIMEOUT = 600  # seconds; package managers fetch dependencies
OUTPUT_MAX = 1_000_000  # characters of one block
# What colours output in a terminal; some programs print it elsewhere too.
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# The address that the pages name.
DOCUMENTED = re.compile(r"\b(127\.0\.0\.1|localhost):50051\b")


class Failure(Exception):
    """A block that failed: the line within the block from 1, or 0 when unknown, and what to report."""

    def __init__(self, line: int, text: str):
        super().__init__(text)
        self.line = line


class Server:
    """A pgfox-server on its private PostgreSQL, with a free port and a data directory of its own."""

    def __init__(self, bin_dir: Path, folder: Path):
        self.bin_dir = bin_dir
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("OPENAI_", "PG", "VIRTUAL_ENV")) and name not in ("DATABASE_URL", "PYTHONPATH")
        }
        if cache := os.environ.get("PGFOX_CACHE_DIR"):
            self.environment["PGFOX_CACHE_DIR"] = cache
        self.environment["PGFOX_DATA_DIR"] = str(folder / "data")
        self.log = folder / "server.log"
        with self.log.open("w") as log:
            command = [bin_dir / "pgfox-server", "--listen", "127.0.0.1:0"]
            self.process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)
        try:
            self.address = self.wait()
        except BaseException:
            self.stop()
            raise
        self.environment["PGFOX_SERVER"] = self.address
        self.environment["PAGER"] = "cat"
        self.environment["PATH"] = f"{bin_dir}:{self.environment['PATH']}"
        # PostgreSQL comes with psql, so that none needs to be installed.
        cache = Path(self.environment.get("PGFOX_CACHE_DIR") or self.default_cache())
        for psql in sorted(cache.glob("**/bin/psql"))[-1:]:
            self.environment["PATH"] += f":{psql.parent}"

    @staticmethod
    def default_cache() -> Path:
        if os.geteuid() == 0:
            return Path("/var/cache/pgfox")
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pgfox"

    def wait(self) -> str:
        end = time.monotonic() + START_TIMEOUT
        while time.monotonic() < end:
            # It listens before the database is set up.
            if (found := re.search(r"listening on http://(\S+)", self.log.read_text())) and self.is_healthy(found[1]):
                return found[1]
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        raise SystemExit(f"the server did not start:\n{self.log.read_text()}")

    def is_healthy(self, address: str) -> bool:
        command = [self.bin_dir / "pgfox-server", "healthcheck", "--listen", address]
        return subprocess.run(command, env=self.environment, capture_output=True, timeout=60).returncode == 0

    def clear(self) -> None:
        """Deletes every collection, so that the next page finds none."""
        pgfox = [self.bin_dir / "pgfox", "collections"]
        bounds = {"env": self.environment, "timeout": 60, "check": True, "stdout": subprocess.PIPE}
        listed = subprocess.run([*pgfox, "list", "--json"], **bounds)
        for collection in json.loads(listed.stdout)["collections"]:
            subprocess.run([*pgfox, "delete", collection["name"], "--yes"], **bounds)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Session:
    """A process that runs the blocks of one language one after the other."""

    def __init__(self, command: list[str], cwd: Path, environment: dict[str, str]):
        self.folder = Path(tempfile.mkdtemp(prefix="pgfox-docs-blocks-"))
        self.count = 0
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            # A group of its own, so that what a page leaves running ends with it.
            start_new_session=True,
        )
        # A process that still runs would keep the output open.
        threading.Thread(target=lambda: (self.process.wait(), self.kill()), daemon=True).start()

    def run(self, text: str) -> str:
        """Runs a block and returns what it printed."""
        self.count += 1
        file = self.folder / f"block-{self.count}"
        file.write_text(text)
        mark = f"--block {self.count} done--"
        self.send(file, mark)
        timer = threading.Timer(BLOCK_TIMEOUT, self.kill)
        timer.start()
        printed = ""
        try:
            for line in self.process.stdout:
                before, found, after = line.partition(mark)
                printed += before
                if found:
                    return self.ended(COLOUR.sub("", printed), after.strip())
                if len(printed) > OUTPUT_MAX:
                    raise Failure(0, f"it printed more than {OUTPUT_MAX} characters")
        finally:
            is_late = not timer.is_alive()
            timer.cancel()
        raise Failure(0, f"it took longer than {BLOCK_TIMEOUT} s" if is_late else f"it ended the session, exit code {self.process.wait()}\n{printed}")

    def send(self, file: Path, mark: str) -> None:
        raise NotImplementedError

    def ended(self, printed: str, result: str) -> str:
        """Judges what stands after the mark: nothing, or the line and the cause of a failure."""
        if not result:
            return printed
        line, _, cause = result.partition(" ")
        raise Failure(int(line), f"{cause}\n{printed}")

    def write(self, text: str) -> None:
        try:
            self.process.stdin.write(text)
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # the end of the output shows it

    def kill(self) -> None:
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def close(self) -> None:
        self.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Bash(Session):
    """Blocks of sh: one bash, which ends at the first command that fails."""

    BEGIN = r"""
set -e -o pipefail
failed() { printf '%s%s exit code %s of: %s\n' "$mark" "$1" "$2" "${BASH_COMMAND%%$'\n'*}"; }
trap 'failed "$LINENO" "$?"' ERR
"""

    def __init__(self, cwd: Path, environment: dict[str, str]):
        super().__init__(["bash", "--noprofile", "--norc"], cwd, environment)
        self.write(self.BEGIN)

    def send(self, file: Path, mark: str) -> None:
        self.write(f"mark='{mark}'; source {file} </dev/null; echo \"$mark\"\n")


class Python(Session):
    """Blocks of Python: one interpreter, which keeps the names of the blocks before. They may `await`, as in a notebook."""

    LOOP = r"""
import ast, asyncio, inspect, sys, traceback
names = {"__name__": "__main__"}
for request in sys.stdin:
    file, mark, page, line = request.rstrip("\n").split("\t")
    result = ""
    try:
        # Empty lines before, so that a traceback names the line of the page.
        text = "\n" * (int(line) - 1) + open(file).read()
        running = eval(compile(text, page, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
        if inspect.iscoroutine(running):
            asyncio.run(running)
    except BaseException as error:
        frames = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == page]
        traceback.print_exc(file=sys.stdout)
        result = f"{frames[-1] - int(line) + 1 if frames else 0} {type(error).__name__}"
    print(mark + result, flush=True)
"""

    def __init__(self, cwd: Path, environment: dict[str, str], page: str):
        super().__init__(["python", "-u", "-c", self.LOOP], cwd, environment)
        self.page = page
        self.line = 1

    def send(self, file: Path, mark: str) -> None:
        self.write(f"{file}\t{mark}\t{self.page}\t{self.line}\n")


def make_venv(root: Path, folder: Path, packages: list[str]) -> Path:
    """A venv with the client of clients/python, where there is one."""
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    if (root / "clients/python/pyproject.toml").exists():
        packages = [*packages, f"{root}/clients/python[numpy]"]
    if packages:
        pip = [venv / "bin/pip", "install", "--quiet", "--disable-pip-version-check", *packages]
        subprocess.run(pip, check=True, timeout=BLOCK_TIMEOUT)
    return venv
