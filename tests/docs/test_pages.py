"""What must fail fails: python3 -m unittest discover tests/docs"""

import tempfile
import textwrap
import unittest
from pathlib import Path

import pages


class Pages(unittest.TestCase):
    def read(self, text: str, **files: str) -> pages.Page:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            for name, content in {"page.md": textwrap.dedent(text), **files}.items():
                path = root / name.replace("__", "/")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content)
            return pages.read(root, "page.md")

    def test_blocks_and_their_output(self) -> None:
        page = self.read("""
            ```sh
            echo a
            ```
            ```text
            a
            ```

            <!-- not run: it waits for ever -->
            ```sh
            cat
            ```

            Prose between.

            ```text
            an illustration
            ```
            """)
        self.assertEqual(page.faults, [])
        run, left_out = page.blocks
        self.assertEqual((run.kind, run.line, run.text, run.output.text), ("sh", 3, "echo a\n", "a\n"))
        self.assertEqual((left_out.not_run, left_out.output), ("it waits for ever", None))

    def test_faults_of_a_page(self) -> None:
        for text, fault in {
            "<!-- not run: -->\n```sh\na\n```\n": "`not run` says why",
            "<!-- not run: reason -->\nprose\n```sh\na\n```\n": "stands directly before a block",
            "```ruby\na\n```\n": "does not know blocks of 'ruby'",
            "```sh\na\n": "has no end",
            "```json\n{a\n```\n": "this is no json",
            "```toml\na\n```\n": "this is no toml",
            "```xml\n<a>\n```\n": "this is no xml",
            "```go\nf()\n```\n": "stands in no .go file",
            "[a](missing.md)\n": "leads nowhere",
            "# A\n[a](#b)\n": "no heading",
        }.items():
            with self.subTest(text):
                page = self.read(text, clients__go__a__go="g()")
                self.assertEqual([fault in found for _, found in page.faults], [True], page.faults)
        self.assertEqual(self.read("# A b: `C`\n[a](#a-b-c) [b](https://x.example/y) `[c](d)`\n").faults, [])

    def test_output(self) -> None:
        for shown, real, is_same in [
            ("a\n", "a  \n", True),
            ("a\n", "b\n", False),
            ("a\n", "a\nb\n", False),
            ("took ... s\n", "took 0.1 s\n", True),
            ("took ... s\n", "took 0.1 s\nmore\n", False),
            ("a\n...\nd\n", "a\nb\nc\nd\n", True),
            ("a\n...\nd\n", "a\nd\n", True),
            ("a.c\n", "abc\n", False),
        ]:
            with self.subTest(shown=shown, real=real):
                self.assertEqual(pages.matches(shown, real), is_same)

    def test_code_of_a_file(self) -> None:
        file = "  a()\n\n  b()\n  c()\n  d()\n"
        for block, is_there in [("a()\nb()\n", True), ("a()\nc()\n", False), ("a()\n// ...\nd()\n", True), ("d()\n// ...\na()\n", False)]:
            with self.subTest(block):
                self.assertEqual(pages.stands_in(block, file), is_there)


if __name__ == "__main__":
    unittest.main()
