"""The pages beside the tutorial and the recipes: what they show runs, what they quote is said, what they link to is there."""

import glob
import os
import re

from machine import Machine
from stage import BARE, RESIL, Stage, main
from walk import ROOT, Walk, blocks_of

PAGES = ["README.md", *sorted(f"docs/{os.path.basename(path)}" for path in glob.glob(os.path.join(ROOT, "docs/*.md")))]


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def anchor_of(heading):
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


class Documents(Stage):
    def test_links_lead_somewhere(self):
        checked = 0
        for page in PAGES:
            for link in re.findall(r"\]\(([^)]+)\)", read(page)):
                if "://" in link:
                    continue
                path, _, anchor = link.partition("#")
                target = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
                self.assertTrue(os.path.exists(os.path.join(ROOT, target)), f"{page}: there is no {target}")
                if anchor:
                    anchors = [anchor_of(heading) for heading in re.findall(r"^#+ (.*)$", read(target), re.M)]
                    self.assertIn(anchor, anchors, f"{page}: {target} has no such heading")
                checked += 1
        self.assertGreater(checked, 10)

    def test_every_page_is_linked_from_the_readme(self):
        for page in PAGES[1:]:
            self.assertTrue(f"]({page})" in read("README.md"), f"README.md: link to {page}")

    def test_rule_files_in_pages_and_examples_are_good(self):
        texts = [("docs/examples/container/rules.yaml", read("docs/examples/container/rules.yaml"))]
        for page in PAGES:
            for sort, line, text in blocks_of(read(page)):
                if sort == "yaml":
                    texts += [(f"{page}:{line}", re.sub(r"(?m)^    ", "", inner)) for inner in
                              re.findall(r"^  rules\.yaml: \|\n((?:    .*\n)+)", text, re.M) or [text]]
        self.assertGreaterEqual(len(texts), 2)
        for place, text in texts:
            ended = self.run_program([RESIL, "check", self.write("rules.yaml", text)], how=BARE)
            self.assertEqual(ended.status, 0, f"{place}: {ended}")
            self.assertIn("0 warnings", ended.out, f"{place}: {ended}")

    def test_figures_of_the_comparison_are_those_of_the_readme(self):
        costs = read("README.md").split("## What it costs")[1].split("\n## ")[0]
        table = read("docs/comparison.md").split("## Figures")[1].split("\n\n|")[1]
        checked = 0
        for row in table.split("\n")[2:]:
            column = row.split("|")[3] if row.count("|") == 5 else ""
            for figure in re.findall(r"[\d.]+(?: to [\d.]+)? (?:ns|×|instructions|KiB|bytes)", column):
                if " to " in figure and "×" in figure:
                    figures = [f"{number} ×" if f"{number} ×" in costs else f"{number} or" for number in figure[:-2].split(" to ")]
                else:
                    figures = [figure]
                for one in figures:
                    self.assertTrue(one in costs or f"or {one}" in costs, f"docs/comparison.md: README.md's costs do not have {one}")
                    checked += 1
        self.assertGreaterEqual(checked, 7)

    def test_messages_that_troubleshooting_quotes_are_said(self):
        """Piece by piece: what stands for anything in between is left out."""
        said = ""
        for path in glob.glob(os.path.join(ROOT, "tools/resil/*.c")) + glob.glob(os.path.join(ROOT, "src/*/*.c")):
            said += re.sub(r'"\s*\n\s*"', "", read(path)) + "\n"
        checked = 0
        for sort, line, text in blocks_of(read("docs/troubleshooting.md")):
            for quoted in text.strip().split("\n") if sort == "text" else []:
                for piece in re.split("…|: ", quoted):
                    if len(piece.strip()) > 8:
                        self.assertTrue(piece.strip() in said, f"docs/troubleshooting.md:{line}: nothing says `{piece.strip()}`")
                        checked += 1
        self.assertGreaterEqual(checked, 6)

    def test_the_dockerfile_names_the_library_so_that_the_loader_finds_it(self):
        text = read("docs/examples/container/Dockerfile")
        preload = re.search(r"^ENV LD_PRELOAD=(\S+)", text, re.M)[1]
        self.assertEqual(preload, r"/usr/\$LIB/libresil.so")
        ended = self.run_program(["cmake", "-P", os.path.join(os.path.dirname(RESIL), "CPackConfig.cmake")], how=BARE)
        self.assertTrue(ended.is_good, ended)
        with open(os.path.join(os.path.dirname(RESIL), "CPackConfig.cmake"), encoding="utf-8") as file:
            self.assertIn('CPACK_PACKAGING_INSTALL_PREFIX "/usr"', file.read())
        instructions = re.findall(r"^[A-Z]+", re.sub(r"\\\n", " ", text), re.M)
        self.assertEqual(instructions, ["ARG", "FROM", "COPY", "RUN", "COPY", "ENV"])


class Examples(Machine):
    def test_the_drop_in_is_what_enable_writes_and_systemd_takes_it(self):
        example = os.path.join(ROOT, "docs/examples/50-libresil.conf")
        ended = self.on_machine(f"""
mkdir -p /etc/resil && echo 'version: 1' >/etc/resil/NAME.yaml
printf '[Service]\\nExecStart=/bin/true\\n' >/etc/systemd/system/NAME.service
resil enable --unit NAME --rules /etc/resil/NAME.yaml >&2 || exit 1
drop_in=/etc/systemd/system/NAME.service.d/50-libresil.conf
cmp <(grep -v '^#' $drop_in) <(grep -v '^#' {example} | sed s,/usr/,/usr/local/,) >&2 || exit 2
cp {example} $drop_in && systemd-analyze --man=no verify /etc/systemd/system/NAME.service
""")
        self.assertEqual((ended.status, ended.out), (0, ""), ended)
        self.assertNotIn("50-libresil.conf:", ended.err.split("To take it back")[1], ended)


class Fleet(Walk):
    def test_what_is_shown_runs_as_it_is_written(self):
        self.walk("fleet.md")


if __name__ == "__main__":
    main()
