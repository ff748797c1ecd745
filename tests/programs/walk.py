"""Walks through a document as its reader would: each block of shell is run as it is written, one after the other in the
same shell, and what the document says that it prints (the block of text that follows) is what it prints.

In what it says, `…` stands for anything, alone on a line for any number of lines; durations, blanks and empty lines may
differ. Where nothing is said, nothing may be printed."""

import os
import re

from machine import Machine
from stage import BUILD

ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
DURATION = re.compile(r"\b\d+(?:\.\d+)?(?:ms|us|s|m)\b")


def blocks_of(text):
    """(sort, line, text) of each fenced block, of what is run and of what is said."""
    found = re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S)
    return [(match[1], text.count("\n", 0, match.start()) + 2, match[2]) for match in found]


def pattern_of(said):
    """What a block of text says, as a regular expression."""
    lines = []
    for line in said.split("\n"):
        if line.strip() == "…":
            lines.append(r"(?:.*\n)*?")
        if line.strip() in ("", "…"):
            continue
        parts = []
        for part in line.strip().split("…"):
            between = DURATION.split(re.sub(r"\s+", " ", part))
            parts.append(DURATION.pattern.join(re.escape(piece) for piece in between))
        lines.append(".*".join(parts) + r"\n")
    return "".join(lines)


def tidied(printed):
    return "".join(re.sub(r"\s+", " ", line).strip() + "\n" for line in printed.split("\n") if line.strip())


class Walk(Machine):
    def walk(self, name, heading=None, seconds=240, before=""):
        """Runs a document, or what is under one of its headings."""
        with open(os.path.join(ROOT, "docs", name), encoding="utf-8") as file:
            text = file.read()
        blocks = blocks_of(text)
        if heading:
            begin = text.index(f"\n## {heading}\n")
            end = text.find("\n## ", begin + 1)
            first, last = text.count("\n", 0, begin), text.count("\n", 0, end) if end > 0 else len(text)
            blocks = [block for block in blocks if first < block[1] <= last]
        run = [number for number, block in enumerate(blocks) if block[0] == "sh"]
        self.assertTrue(run, f"{name} has nothing to run")
        script = before + "".join(
            f"exec >{self.folder}/said-{number} 2>&1; begun={number}\n{blocks[number][2]}" for number in run)
        script += f"\nexec >{self.folder}/end 2>&1; kill $(jobs -p) 2>/dev/null; exit 0\n"
        path = self.write("walk.sh", script)
        ended = self.on_machine(f". {path}", seconds=seconds)
        prints = {}
        for number in run:
            try:
                with open(f"{self.folder}/said-{number}", encoding="utf-8", errors="replace") as file:
                    prints[number] = file.read()
            except FileNotFoundError:
                prints[number] = "(it was not reached)"
        told = "".join(f"--- docs/{name}:{blocks[number][1]}\n{blocks[number][2]}--- printed\n{prints[number]}" for number in run)
        if os.environ.get("SHOW"):
            print(told)
        self.assertTrue(ended.is_good, f"{ended}\n{told}")
        for number in run:
            said = blocks[number + 1] if number + 1 < len(blocks) and blocks[number + 1][0] == "text" else ("text", blocks[number][1], "")
            self.assertIsNotNone(re.fullmatch(pattern_of(said[2]), tidied(prints[number])),
                                 f"docs/{name}:{said[1]}: it prints\n{prints[number]}\n\nand not\n{said[2]}\n{told}")
        return prints

