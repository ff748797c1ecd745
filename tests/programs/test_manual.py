"""The manual pages leave nothing out: every option, key, figure, event, variable and exit status is there.

Each failure says which page lacks what, and the lines to add: as well as the schema, the tables and --help can tell them. Make
them read well.
"""

import json
import os
import re
import subprocess

from stage import BARE, RESIL, Stage, main

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
PAGES = os.path.join(ROOT, "docs/man")
# What every command has, and the page says once.
COMMON = {"--help", "--usage", "--version", "-?", "-V"}


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def sections_of(page, macro):
    """{heading: text} of the parts that begin with that macro."""
    parts = re.split(rf"^\.{macro} (.*)$", page, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


def items_of(page):
    """{what an item begins with: all of its text}"""
    parts = re.split(r"^(?=\.(?:It|El|Ss|Sh)\b)", page, flags=re.M)
    return {part.split("\n", 1)[0]: part for part in parts if part.startswith(".It ")}


def keys_of(node, path=(), root=None):
    """(path, schema) of every key that the schema knows, wherever it is."""
    root = root or node
    if "$ref" in node:
        target = root
        for part in node["$ref"].split("/")[1:]:
            target = target[part]
        node = target
    for key, value in node.get("properties", {}).items():
        yield (*path, key), value
        yield from keys_of(value, (*path, key), root)
    for word in "anyOf", "oneOf", "allOf":
        for one in node.get(word, []):
            yield from keys_of(one, path, root)
    for word in "items", "additionalProperties":
        if isinstance(node.get(word), dict):
            yield from keys_of(node[word], path, root)


def escaped(text):
    """Ordinary text, one sentence a line."""
    text = re.sub(r"\s+", " ", text.replace("\\", "\\e")).strip()
    return re.sub(r"(?<=[.!?]) (?=[A-Z])", "\n", text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")) + "\n"


def kind_of(schema):
    """What stands behind a key's colon."""
    text = json.dumps(schema)
    signs = {"(ns|us": "duration", "%$": "ratio", "/[smh]": "rate", '"integer"': "count", '"number"': "factor"}
    kinds = [kind for sign, kind in signs.items() if sign in text]
    off = " | Cm off" if kinds and ('"off"' in text or "(off|" in text) else ""
    return f" : Ar {kinds[0]}{off}" if kinds and '"properties"' not in text else ""


def item_for_key(name, schema):
    usual = schema.get("default")
    usual = f"{usual:g}" if isinstance(usual, float) else usual
    return (f".It Cm {name}{kind_of(schema)}{f' Pq {usual}' if usual is not None else ''}\n"
            + escaped(schema.get("description", "WHAT IT IS")))


def options_of(usage):
    """[(item, what it does)] of a command's --help."""
    found = re.findall(r"^  (?:(-\S), |    )(--[a-z-]+)(?:\[?=([A-Z:|[\]]+)\]?)?(?:\n)? *(.*(?:\n {20,}.*)*)", usage, re.M)
    return [(".It " + (f"Fl {short[1:]} , " if short else "") + f"Fl {long[1:]}" + (f" Ns = Ns Ar {value.lower()}" if value else ""), does)
            for short, long, value, does in found if long not in COMMON]


def section_for_command(command, usage):
    how, what, more = re.match(r"Usage: resil \S+ ?(.*)\n((?:.+\n)*)([\s\S]*)", usage).groups()
    words = how.replace("[OPTION...]", "").lower().strip()
    options = "".join(f"{item}\n{escaped(does)}" for item, does in options_of(usage))
    said = re.search(r"^Exit status:(.*?)(?:\n\n|\Z)", more, re.M | re.S)
    return (f".Ss resil {command} {f'Oo option ... Oc {words}' if words else 'Op option ...'}\n{escaped(what)}"
            f".Bl -tag -width Ds\n{options}.El\n.Pp\n"
            f"Exit status: {' '.join(said[1].split()) if said else 'SAY IT IN --help'}\n")


class Manual(Stage):
    longMessage = False # what is to be added is enough

    def commands(self):
        """{name: what its --help says}"""
        overview = self.run_program([RESIL, "help"], how=BARE).out
        names = re.findall(r"^  ([a-z]+) +\S", overview.split("First steps")[0], re.M)
        self.assertIn("run", names)
        return {name: self.run_program([RESIL, name, "--help"], how=BARE).out for name in names if name != "help"}

    def test_every_command_and_option_is_in_resil_1(self):
        page = read("docs/man/resil.1")
        told = {heading.split()[1]: text for heading, text in sections_of(page, "Ss").items() if heading.startswith("resil ")}
        for command, usage in self.commands().items():
            with self.subTest(command=command):
                self.assertTrue(command in told, f"docs/man/resil.1, under .Sh COMMANDS: add\n{section_for_command(command, usage)}")
                items = dict((re.search(r"Fl (-[a-z-]+)", item)[1], item + "\n" + escaped(does)) for item, does in options_of(usage))
                options = set(re.findall(r"^ {1,6}(?:-\S, )? *(--[a-z][a-z-]*)", usage, re.M))
                options |= set(re.findall(r"^  (-\S)[,=\[ ]", usage, re.M))
                self.assertIn("--help", options)
                for option in sorted(options - COMMON):
                    written = "Fl " + option[1:]
                    with self.subTest(option=option):
                        self.assertRegex(told[command], rf"(?m)^\.It (?:.* )?{re.escape(written)}(?= |$)",
                                         f"docs/man/resil.1, in `.Ss resil {command}`: add\n" + items.get(option[1:], f".It {written}\n"))

    def test_no_page_tells_of_options_that_are_not_there(self):
        page = read("docs/man/resil.1")
        commands = self.commands()
        for heading, text in sections_of(page, "Ss").items():
            command = heading.split()[1] if heading.startswith("resil ") else ""
            if command not in commands:
                self.assertEqual(command, "help", f"docs/man/resil.1: there is no command `{heading}`")
                continue
            for option in re.findall(r"^\.It .*?Fl (-[a-z-]+)", text, re.M):
                self.assertRegex(commands[command], rf"-{option}\b", f"docs/man/resil.1, `.Ss resil {command}`: there is no -{option}")

    def test_every_exit_status_is_in_resil_1(self):
        page = read("docs/man/resil.1")
        told = items_of(sections_of(page, "Sh")["EXIT STATUS"])
        parts = sections_of(page, "Ss")
        for command, usage in self.commands().items():
            said = re.search(r"^Exit status:(.*?)(?:\n\n|\Z)", usage, re.M | re.S)
            self.assertIsNotNone(said, f"resil {command} --help does not say its exit statuses")
            part = next(text for heading, text in parts.items() if heading.split()[:2] == ["resil", command])
            for number in re.findall(r"(?<![\d.])(\d+)(?= [a-zA-Z])", said[1]):
                self.assertIn(f".It {number}", told, f"docs/man/resil.1, .Sh EXIT STATUS: add `.It {number}` (resil {command} has it)")
                self.assertRegex(part, rf"(?s)Exit status:.*\b{number}\b",
                                 f"docs/man/resil.1, `.Ss resil {command}`: its `Exit status:` leaves out {number}")

    def test_every_key_and_figure_is_in_resil_rules_5(self):
        items = items_of(read("docs/man/resil.rules.5"))
        schema = json.loads(read("rules/rules.schema.json"))
        of_rules = {path[1:]: value for path, value in keys_of(schema) if path[0] == "rules" and len(path) > 1}
        checked = 0
        for path, value in keys_of(schema):
            name, sort = path, value.get("description")
            if path[0] in ("rules", "defaults") and len(path) > 1:
                name = path[1:]
            else: # what is the same elsewhere, as `match` of a fault is, is told once
                same = [path[at:] for at in range(1, len(path)) if sort and of_rules.get(path[at:], {}).get("description") == sort]
                name = same[0] if same else path
            written = ".It Cm " + ".".join(name)
            found = [text for head, text in items.items() if re.match(rf"\.It Cm (?:[\w.]+ , )*{re.escape('.'.join(name))}(?= |$)", head)]
            with self.subTest(key=".".join(name)):
                self.assertTrue(found, f"docs/man/resil.rules.5: add, in the `.Ss` of its section (make one if there is none)\n"
                                       + item_for_key(".".join(name), value))
                if "default" in value:
                    usual = value["default"]
                    usual = f"{usual:g}" if isinstance(usual, float) else str(usual)
                    self.assertRegex(found[0].split("\n")[0], rf"Pq {re.escape(usual)}$",
                                     f"docs/man/resil.rules.5: `{written}` ends with another figure than `Pq {usual}`")
                checked += 1
        self.assertGreater(checked, 80)

    def test_every_unit_and_error_is_in_resil_rules_5(self):
        page = read("docs/man/resil.rules.5")
        schema = read("rules/rules.schema.json")
        units = re.search(r"\((ns\|[a-z|]+)\)", schema)[1].split("|")
        item = items_of(page)[".It Ar duration"]
        for unit in units:
            self.assertRegex(item, rf"\b{unit}\b", f"docs/man/resil.rules.5, `.It Ar duration`: add the unit {unit}")
        for error in sorted(set(re.findall(r'"(E[A-Z]{3,}|EAI_[A-Z]+)"', schema))):
            self.assertRegex(page, rf"\b{error}\b", f"docs/man/resil.rules.5: add {error} to the values that may be written")
        words = {word for _, value in keys_of(json.loads(schema)) for one in [value, *value.get("anyOf", [])]
                 for word in one.get("enum", []) if isinstance(word, str) and word.islower()}
        self.assertIn("siblings", words)
        for word in sorted(words):
            self.assertRegex(page, rf"\b{word}\b", f"docs/man/resil.rules.5: the value `{word}` is not told of")

    def test_no_page_tells_of_keys_that_are_not_there(self):
        schema = json.loads(read("rules/rules.schema.json"))
        known = {".".join(path[at:]) for path, _ in keys_of(schema) for at in range(len(path))}
        for head in items_of(read("docs/man/resil.rules.5")):
            keys = re.match(r"\.It Cm ([\w.]+(?: , [\w.]+)*)", head)
            for key in keys[1].split(" , ") if keys else []:
                self.assertIn(key, known, f"docs/man/resil.rules.5: there is no key {key}")

    def test_every_event_and_reason_is_in_libresil_8(self):
        events_told, reasons_told = sections_of(read("docs/man/libresil.8"), "Sh")["EVENTS"].split(".Ss Reasons\n")
        header = read("src/report/event.h")
        events = re.findall(r'^EVENT\(\w+, *"(\w+)", *"(.*)"\)', read("src/report/events.def"), re.M)
        reasons = re.findall(r'(?m)^    [A-Z]+\(\w+, "(\w+)", "(.*)"\) *\\?$', re.sub(r" +\\\n", " \\\n", header))
        self.assertIn("retry", dict(events))
        self.assertIn("budget", dict(reasons))
        self.assertIn("ambiguous", dict(reasons))
        self.assertIn("reset", dict(reasons))
        for name, means in events:
            with self.subTest(event=name):
                self.assertRegex(events_told, rf"(?m)^\.It Cm {name}$",
                                 f"docs/man/libresil.8, .Sh EVENTS: add\n.It Cm {name}\n{escaped(means)}")
        for name, means in reasons:
            with self.subTest(reason=name):
                self.assertRegex(reasons_told, rf"(?m)^\.It Cm {name}$",
                                 f"docs/man/libresil.8, .Ss Reasons: add\n.It Cm {name}\n{escaped(means)}")

    def test_every_variable_is_in_libresil_8(self):
        told = sections_of(read("docs/man/libresil.8"), "Sh")["ENVIRONMENT"]
        used = set()
        for folder in "src", "tools/resil":
            for path, _, names in os.walk(os.path.join(ROOT, folder)):
                for name in names:
                    if name.endswith((".c", ".h")):
                        used |= set(re.findall(r'"(RESIL_[A-Z][A-Z_]*)=?"', read(os.path.join(path, name))))
        used |= {"RESIL_" + name for name in re.findall(r'value_of\(ours, "([A-Z_]+)"\)', read("src/state/process.c"))}
        known = {"RESIL_RULES", "RESIL_LOG", "RESIL_STATE_DIR", "RESIL_SEED", "RESIL_EARLY", "RESIL_DISABLE", "RESIL_LIBRARY"}
        self.assertEqual(known - used, set(), "where these are read has changed, and this test does not find them any more")
        for name in sorted(used):
            with self.subTest(variable=name):
                self.assertRegex(told, rf"(?m)^\.It Ev (?:.* )?{name}\b",
                                 f"docs/man/libresil.8, .Sh ENVIRONMENT: add `.It Ev {name}` and what it does")

    def test_the_pages_are_clean(self):
        pages = sorted(os.path.join(PAGES, name) for name in os.listdir(PAGES))
        self.assertGreaterEqual(len(pages), 4)
        said = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", *pages], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False)
        self.assertEqual(said.stdout, "")
        for page in pages:
            said = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", page], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  text=True, check=False, env={**os.environ, "MANWIDTH": "80"})
            self.assertEqual((said.returncode, said.stderr), (0, ""), page)


if __name__ == "__main__":
    main()
