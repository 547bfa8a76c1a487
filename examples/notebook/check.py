"""Runs foxes.ipynb in a fresh kernel, and fails when a cell does or when it prints something else than is committed.

    python check.py            # check
    python check.py --write    # run it and keep what it prints, after a change

Pictures are not compared, nor what the cells tagged "varies" print.
"""

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

NOTEBOOK = Path(__file__).with_name("foxes.ipynb")
# Seconds for one cell. The first embedding waits for the model to be loaded.
CELL_TIMEOUT = 60


def main() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
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
        sys.exit("the notebook complains:\n" + "".join(complaints))
    if sys.argv[1:] == ["--write"]:
        # The version of Python is no concern of the reader, and would change with every machine.
        notebook.metadata.language_info = {"name": "python"}
        nbformat.write(notebook, NOTEBOOK)
        return
    for name in committed | printed:
        if printed.get(name) != committed.get(name):
            print(f"{name} is\n{printed.get(name)}\nand was, as committed,\n{committed.get(name)}")
    if printed != committed:
        sys.exit("the outputs are stale: run check.py --write and look at what has changed")
    print(f"{len(printed)} outputs are as committed")


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
