"""Finds functions of Python's standard library by what they do.

    python stdlib.py                               # ask twenty questions and count the right answers
    python stdlib.py "remove a folder and all in it"

It searches the docstrings of all public functions of this Python, and of the methods of its basic types.
"""

import builtins
import contextlib
import importlib
import inspect
import os
import sys
import warnings
from collections.abc import Iterator

import pgfox
from pgfox import v1

SERVER = os.environ.get("PGFOX_SERVER", "127.0.0.1:50051")
API_KEY = os.environ.get("PGFOX_API_KEY")
COLLECTION = "example_stdlib"
MODEL = "local/all-MiniLM-L6-v2"

# They open windows, do something when imported, or hold the same functions once more under another name.
LEFT_OUT = {"antigravity", "idlelib", "ntpath", "posix", "posixpath", "this", "tkinter", "turtle", "turtledemo"}
TYPES_WITH_METHODS = (bytes, dict, float, int, list, set, str, tuple)

# In words that the docstrings mostly do not use.
QUESTIONS = {
    "remove a folder and everything inside": "shutil.rmtree",
    "largest number that divides both": "math.gcd",
    "wait a few seconds": "time.sleep",
    "put a list in random order": "random.shuffle",
    "cut a text into lines of a given width": "textwrap.wrap",
    "suggest words for a typo": "difflib.get_close_matches",
    "is this year a leap year": "calendar.isleap",
    "where on the PATH is this program": "shutil.which",
    "the three smallest elements": "heapq.nsmallest",
    "make a temporary folder": "tempfile.mkdtemp",
    "middle value of some numbers": "statistics.median",
    "how many processors does this machine have": "os.cpu_count",
    "open a page in the browser": "webbrowser.open",
    "ask for a password without showing it": "getpass.getpass",
    "escape the special characters of HTML": "html.escape",
    "remember the results of a slow function": "functools.cache",
    "insert into a sorted list and keep it sorted": "bisect.insort",
    "all orders of the elements": "itertools.permutations",
    "a copy that shares nothing with the original": "copy.deepcopy",
    "make all letters small": "str.lower",
}
# Questions whose function must be among the first five, for this example to call itself working.
FOUND_MIN = 12


def main() -> None:
    with pgfox.connect(SERVER, api_key=API_KEY) as client:
        store(client)
        if len(sys.argv) > 1:
            answer(client, " ".join(sys.argv[1:]))
        else:
            check(client)


def store(client: pgfox.Client) -> None:
    """Brings the collection up to date: what is stored already costs neither an embedding nor a write."""
    collection = v1.Collection(name=COLLECTION, embedding=v1.Embedding(model=MODEL), distance=v1.DISTANCE_COSINE)
    with contextlib.suppress(pgfox.AlreadyExistsError):
        client.CreateCollection(v1.CreateCollectionRequest(collection=collection))
    totals = pgfox.ingest(client, COLLECTION, docstrings())
    print(f"{totals.documents} docstrings: {totals.embedded} embedded, {totals.unchanged} stored already")
    for _ in client.BuildIndex(v1.BuildIndexRequest(collection=COLLECTION)):
        pass


def docstrings() -> Iterator[v1.Document]:
    """Every public function of the standard library, and every method of the basic types."""
    for module_name in sorted({*sys.stdlib_module_names, "os.path"} - LEFT_OUT):
        if module_name.startswith("_"):
            continue
        try:
            with warnings.catch_warnings(action="ignore"):
                module = importlib.import_module(module_name)
        except ImportError:
            # It is for another operating system.
            continue
        for name in getattr(module, "__all__", None) or vars(module):
            function = getattr(module, name, None)
            at_home = hasattr(module, "__all__") or getattr(function, "__module__", None) == module_name
            # Classes in lower case, such as itertools.product, are called like functions.
            if at_home and callable(function) and is_public(name) and name.islower():
                yield from document(name if module is builtins else f"{module_name}.{name}", module_name, function)
    for kind in TYPES_WITH_METHODS:
        for name in filter(is_public, vars(kind)):
            yield from document(f"{kind.__name__}.{name}", "builtins", getattr(kind, name))


def is_public(name: str) -> bool:
    return not name.startswith("_")


def document(name: str, module: str, function: object) -> Iterator[v1.Document]:
    """The name and the first paragraph, which says what the function does; the others say how."""
    if docstring := inspect.getdoc(function):
        summary = docstring.split("\n\n")[0]
        yield pgfox.document(name, text=f"{name}: {summary}", metadata={"module": module})


def answer(client: pgfox.Client, question: str) -> None:
    """Prints the ten nearest functions with what they do."""
    found = client.Search(v1.SearchRequest(collection=COLLECTION, text=question))
    for result in found.results:
        summary = result.document.text.partition(": ")[2]
        print(f"{result.distance:.3f}  {result.document.id:32} {' '.join(summary.split())[:76]}")


def check(client: pgfox.Client) -> None:
    """Asks all questions in one call and counts how often the expected function is among the first five."""
    searches = [v1.SearchRequest(text=question, limit=5) for question in QUESTIONS]
    responses = client.SearchBatch(v1.SearchBatchRequest(collection=COLLECTION, searches=searches)).responses
    found_count = 0
    for (question, expected), response in zip(QUESTIONS.items(), responses, strict=True):
        names = [result.document.id for result in response.results]
        rank = names.index(expected) + 1 if expected in names else None
        found_count += rank is not None
        print(f"{question:46} {names[0]:30} {f'{expected} is number {rank}' if rank else f'{expected} not found'}")
    print(f"found {found_count} of {len(QUESTIONS)} among the first five")
    if found_count < FOUND_MIN:
        sys.exit(f"at least {FOUND_MIN} should be found")


if __name__ == "__main__":
    main()
