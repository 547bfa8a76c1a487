"""Runs each notebook of this folder in a fresh kernel, and fails when a cell does or when it prints something else than is
committed.

    python check.py            # check
    python check.py --write    # run them and keep what they print, after a change

Pictures are not compared, nor what the cells tagged "varies" print.
"""

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

NOTEBOOKS = sorted(Path(__file__).parent.glob("*.ipynb"))
WRITES = sys.argv[1:] == ["--write"]
# Seconds for one cell. The first embedding waits for the model to be loaded.
CELL_TIMEOUT = 60


def main() -> None:
    count = sum(check(path) for path in NOTEBOOKS)
    print(f"{count} outputs of {len(NOTEBOOKS)} notebooks are {'written' if WRITES else 'as committed'}")


def check(path: Path) -> int:
    """Runs a notebook; returns how many outputs it has."""
    notebook = nbformat.read(path, as_version=4)
    committed = texts(notebook)
    # The kernel would leave its history and its settings in the home directory.
    with tempfile.TemporaryDirectory() as folder:
        for variable in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR"):
            os.environ[variable] = folder
        # Sockets in that folder instead of ports, which others on this machine could listen to.
        config = Config(KernelManager={"transport": "ipc"})
        client = NotebookClient(notebook, timeout=CELL_TIMEOUT, record_timing=False, config=config)
        client.execute()
    printed = texts(notebook)
    if complaints := [text for name, text in printed.items() if name.endswith(" stderr")]:
        sys.exit(f"{path.name} complains:\n" + "".join(complaints))
    if WRITES:
        # The version of Python is no concern of the reader, and would change with every machine.
        notebook.metadata.language_info = {"name": "python"}
        nbformat.write(notebook, path)
        return len(printed)
    for name in committed | printed:
        if printed.get(name) != committed.get(name):
            print(f"{name} of {path.name} is\n{printed.get(name)}\nand was, as committed,\n{committed.get(name)}")
    if printed != committed:
        sys.exit("the outputs are stale: run check.py --write and look at what has changed")
    return len(printed)


def texts(notebook: nbformat.NotebookNode) -> dict[str, str]:
    """What the cells print, by the id of the cell and where it goes."""
    found: dict[str, str] = {}
    for cell in notebook.cells:
        if "varies" in cell.metadata.get("tags", ()):
            continue
        for output in cell.get("outputs", ()):
            text = output.text if output.output_type == "stream" else output.data.get("text/plain", "")
            name = f"{cell.id} {output.get('name', 'result')}"
            found[name] = found.get(name, "") + text
    return found


if __name__ == "__main__":
    main()
