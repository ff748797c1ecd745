#!/usr/bin/env python3
"""Writes a corpus to begin with: the rule files that come along, and each one of tests/unit/bad_rules.inc.

    seeds.py FOLDER
"""

import ast
import os
import re
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
FRAMES = {"": "", "RULE ": "version: 1\nrules:\n  - name: a\n    match: {}\n", "FAULT ": "version: 1\nfaults:\n  - name: a\n"}


def bad_rules():
    """The first text of each row; a C string reads as one of Python's."""
    with open(os.path.join(ROOT, "tests/unit/bad_rules.inc"), encoding="utf-8") as file:
        for frame, literal in re.findall(r'^    \{(RULE |FAULT |)("(?:[^"\\]|\\.)*"),$', file.read(), re.M):
            yield FRAMES[frame] + ast.literal_eval(literal.replace("\\e", "\\x1b"))


def main(folder):
    os.makedirs(folder, exist_ok=True)
    texts = list(bad_rules())
    assert len(texts) > 90, f"only {len(texts)} of bad_rules.inc are understood"
    for name in sorted(os.listdir(os.path.join(ROOT, "rules"))):
        if name.endswith(".yaml"):
            with open(os.path.join(ROOT, "rules", name), encoding="utf-8") as file:
                # Comments would use up the few bytes that an input may have.
                texts.append(re.sub(r"[ \n]*#.*", "", file.read()).strip() + "\n")
    for number, text in enumerate(texts):
        with open(os.path.join(folder, f"seed-{number:03}"), "wb") as file:
            file.write(text.encode())


if __name__ == "__main__":
    main(sys.argv[1])
