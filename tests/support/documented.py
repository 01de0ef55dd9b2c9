#!/usr/bin/env python3
"""Writes down what the public headers document as errors, as rows of a C table.

usage: tests/support/documented.py HEADER...

Of every public function the words below "Errors": the names of errors, manual pages ("recv(2)")
and other functions of ours whose errors it shares; and "suspends" if it says that it does. A
header whose first comment names errors for all its calls that ask the kernel for something gives
those that suspend the word "op" too. tests/support/manual.c knows what the words stand for.
"""
import re
import sys
from pathlib import Path

FUNCTION = re.compile(r"/\*\*((?:(?!\*/).)*)\*/\s*WH_API\s[^;{]*?\b(wh_\w+)\s*\(", re.DOTALL)
TAG = re.compile(r"^(Suspends|Returns|Errors|Ownership|Context)\b *(.*)$")
WORD = re.compile(r"-(E[A-Z0-9]+)\b|\b([a-z]\w*\([23]\))|\bas (wh_\w+)")


def sections(comment):
    """The text under each tag."""
    found = {}
    tag = ""
    for line in comment.splitlines():
        line = line.strip().removeprefix("*").strip()
        match = TAG.match(line)
        if match:
            tag, line = match.groups()
        found[tag] = found.get(tag, "") + line + " "
    return found


def rows(header):
    text = header.read_text()
    first = text[:text.index("*/")]
    kernel = {"-ENOMEM", "-EAGAIN"} <= set(re.findall(r"-E[A-Z]+", first))
    for comment, name in FUNCTION.findall(text):
        parts = sections(comment)
        words = ["".join(match) for match in WORD.findall(parts.get("Errors", ""))]
        if "Suspends" in parts:
            words += ["suspends"] + (["op"] if kernel else [])
        yield name, sorted(set(words))


def main(arguments):
    if not arguments or arguments[0].startswith("-"):
        print(__doc__.strip(), file=sys.stderr)
        return 2
    for path in map(Path, arguments):
        print(f"/* {path.name} */")
        for name, words in rows(path):
            print(f'{{ "{name}", "{" ".join(words)}" }},')
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
