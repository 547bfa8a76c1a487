#!/usr/bin/env python3
"""Finds words and constructions that CONTRIBUTING.md, "How we write", avoids: .ci/style.py [FILE...]

Reads Markdown without code, and comments and strings of Rust, proto, Go, Java and TypeScript files. To add a rule, add a line to RULES.
"""

import re
import subprocess
import sys
from pathlib import Path

# What to avoid, and what to write instead. A blank matches any white space, and case counts. In a look-behind, write \s.
RULES = [
    (r"Of [a-z]+", "begin with the subject, not with its part: `Each server runs at most N`, not `Of one server at most N`"),
    (r"(?:[Tt]old|[Tt]ells)", "a program says, reports or returns; a person is informed or asked"),
    (r"(?<![Tt]here\s)(?:is|are|was|were) no (?!longer|more)[a-z]+", "write `is not a ...` or `has no ...`"),
    (r"others than", "name the thing: `other than` or `different from`"),
    (r"Most (?!of|people|users|clients|models)\w+ (?:of|per|in|at|that|to|for)|(?:Most|Fewest) (?:results|rows|chunks|bytes|characters|tokens|codes)", "give a limit as `at most N` or `Maximum ...`"),
    (r"Tell (?:how|what|which|whether|why)", "a flag shows or prints: `Show how ...`"),
    (r"without a word", "say what happens: `without closing the connection`"),
    (r"[Ww]hoever|[Ww]homever", "write `anyone who`, `a caller that` or `if you`"),
    (r"stands? (?:in front|before|behind|beside|directly|at the|in the|in its)|stood", "text is, comes or appears somewhere"),
    (r"(?:[Gg]oes|[Gg]oing|[Ww]ent|go) on(?! the| a| its)", "write `continue`"),
    (r"some (?:\d[\d,.]*|two|ten|twenty|thirty|fifty|hundred)", "write `about` before a number"),
    (r"(?:mend(?:s|ed)?|anew|lest|whence|thereby|thereupon|hitherto|henceforth|therein|thereof|thus|hence|shall|ought|whereby)", "old word: `fixes`, `again`, `so`, `must`"),
    (r"[Tt]he (?:former|latter)", "repeat the noun"),
    (r"(?:takes|accepted|read|known) for (?:the same|one)", "write `treats as equal`"),
    (r"does not hold|do not hold|holds when|holds true", "a test is true or false"),
    (r"look(?:s|ed|ing)? through", "write `scan` or `check`"),
    (r"[Ii]n (?:vain|time of)|at ease|at odds|no sooner", "say what happens"),
    (r"[Ss]o as to|[Ii]n order to|one another|takes? place|ma[dk]es? use of|as good as", "use a shorter word: `to`, `each other`, `happens`, `uses`, `nearly`"),
    (r"wants", "a person wants; a program needs or requires"),
    (r"[Nn]oticed|[Nn]otices", "a program detects"),
    (r"(?:inside|outside) of|but for|every \w+ but", "write `inside`, `outside`, `except`"),
    (r"please", "an instruction needs no `please`"),
    (r"(?:simply|obviously|of course|just works|easily)", "leave it out: it adds nothing"),
    (r"seamless|blazing|cutting-edge|world-class|powerful|robust", "give a number or a limit instead of praise"),
]
BRANCHES = "|".join(f"(?P<r{i}>{rule.replace(' ', chr(92) + 's+')})" for i, (rule, _) in enumerate(RULES))
# The look-ahead makes it seven times as fast.
ANY = re.compile(rf"\b(?=[A-Za-z])(?:{BRANCHES})\b")

# Ends a text, so that no construction spans code.
END = "\0"

FENCED = re.compile(r"^ *(```+|~~~+).*?^ *\1 *$|<!--.*?-->|`[^`\n]*`|\]\([^)\s]*\)", re.MULTILINE | re.DOTALL)
# A comment, a raw string, a string, or a character, which could be a quote. Rust, Go, Java and TypeScript share them.
TOKEN = re.compile(r"""//[/!]?(?P<comment>[^\n]*)|/\*(?P<block>.*?)\*/|r(?P<mark>\#*)"(?P<raw>.*?)"(?P=mark)|"(?P<string>(?:\\.|[^"\\])*)"|'(?:\\.[^']*|[^'\\])'""", re.DOTALL)


def blank(text: str) -> str:
    """White space with the lines of the text, so that numbers of lines stay right."""
    return END + "\n" * text.count("\n")


def prose_of_markdown(text: str) -> str:
    return FENCED.sub(lambda found: blank(found[0]) if "\n" in found[0] else END, text)


def prose_of_code(text: str) -> str:
    parts, at = [], 0
    for token in TOKEN.finditer(text):
        between = text[at : token.start()]
        parts.append(between if not between.strip() else blank(between))
        if token["comment"] is not None:
            parts.append(re.sub(r"`[^`]*`", END, token["comment"]))
        elif token["block"] is not None:
            parts.append(re.sub(r"\n\s*\*", "\n ", token["block"]))
        else:
            # A backslash at the end of a line continues the text.
            inner = token["raw"] or token["string"] or ""
            parts += [END, re.sub(r"\\(?=\n)", " ", inner), END, "\n" * (token[0].count("\n") - inner.count("\n"))]
        at = token.end()
    return "".join(parts)


def files() -> list[str]:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md", "*.rs", "*.proto", "*.go", "*.java", "*.ts"]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")[:-1]
    check = ["git", "check-attr", "-z", "--stdin", "linguist-generated"]
    attributes = subprocess.run(check, input="\0".join(names), capture_output=True, text=True, check=True).stdout.split("\0")
    generated = {name for name, value in zip(attributes[::3], attributes[2::3]) if value == "set"}
    return [name for name in names if name not in generated and Path(name).is_file()]


def faults(name: str) -> list[str]:
    text = Path(name).read_text()
    prose = prose_of_markdown(text) if name.endswith(".md") else prose_of_code(text)
    return [
        f"{name}:{prose.count(chr(10), 0, found.start()) + 1}: {' '.join(found[0].split())!r}: {RULES[int(found.lastgroup[1:])][1]}"
        for found in ANY.finditer(prose)
    ]


def main() -> int:
    wrong = [fault for name in sys.argv[1:] or files() for fault in faults(name)]
    print("\n".join(wrong), end="\n" if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
