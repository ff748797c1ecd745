"""`resil report`: its data, and the page as a browser draws it."""

import html
import json
import os
import re
import shutil
import subprocess
import time
import unittest

from stage import BARE, PYTHON, RULED, Stage, main

RULES = """version: 1
rules:
  - name: payments
    match: {address: 127.0.0.1, port: %d}
    timeout: {connect: 1s}
    breaker: {failure_threshold: 2, failure_rate: off, recovery_timeout: 600s, max_recovery_timeout: 600s}
  - name: watched
    match: {address: 127.0.0.1, port: %d}
    timeout: {connect: 200ms}
    breaker: {failure_threshold: 1, failure_rate: off, recovery_timeout: 600s, max_recovery_timeout: 600s}
    enforce: 0%%
  - name: catalog
    match: {address: 127.0.0.1}
    timeout: {connect: 1s, response: 5s}
"""
# Connects so often, with such pauses in between, of which each is so many times as long as the one before.
LOOP = """
import socket, sys, time
pause = float(sys.argv[3])
for _ in range(int(sys.argv[2])):
    s = socket.socket()
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 700)
    s.connect_ex(('127.0.0.1', int(sys.argv[1])))
    s.close()
    time.sleep(pause)
    pause *= float(sys.argv[4])
"""
# Runs in the page after its own script; what it gives is the title of the document.
PROBE = '<script>try { document.title = JSON.stringify((%s)()); } catch (e) { document.title = "failed: " + e.stack; }</script></body>'


class Told(Stage):
    def setUp(self):
        super().setUp()
        self.down, self.shadow = self.free_port(), self.server("blackhole").port
        self.good = self.server("answer --delay 60 --body fine")
        self.rule_file = self.rules(RULES % (self.down, self.shadow))

    def loop(self, port, times, pause=0.01, growth=1, how=RULED):
        ended = self.run_program([PYTHON, "-c", LOOP, str(port), str(times), str(pause), str(growth)], self.rule_file, how)
        self.assertTrue(ended.is_good, ended)

    def call_all(self):
        self.loop(self.down, 8)
        self.loop(self.shadow, 3)
        self.run_program(self.wget(self.good.url()), self.rule_file)

    def data(self, *arguments):
        return json.loads(self.resil("report", "--json", *arguments))

    def host(self, data, port):
        (host,) = [host for file in data["rule_files"] for host in file["hosts"] if host["target"] == f"127.0.0.1:{port}"]
        return host


class Data(Told):
    def test_a_circuit_over_time(self):
        def story(how):
            self.loop(self.down, 4, how=how)
            return any(host["target"].endswith(f":{self.down}") for file in self.data()["rule_files"] for host in file["hosts"])

        self.only_with_rules(story)
        self.resil("breaker", "close", "payments")
        self.resil("breaker", "auto", "payments")
        data = self.data()
        host = self.host(data, self.down)
        self.assertEqual([span["state"] for span in host["spans"]], ["closed", "open", "held closed", "closed"])
        self.assertEqual((host["spans"][0]["from_ms"], host["spans"][-1]["to_ms"]), (data["from_ms"], data["to_ms"]))
        for before, after in zip(host["spans"], host["spans"][1:]):
            self.assertEqual(before["to_ms"], after["from_ms"])
        self.assertEqual((host["state"], host["counts"]["rejected"]), ("closed", 2))
        self.assertLess(abs(data["to_ms"] - time.time() * 1000), 30000)

    def test_what_a_circuit_was_before_its_first_event(self):
        self.loop(self.down, 4)
        self.assertEqual([span["state"] for span in self.host(self.data(), self.down)["spans"]], ["closed", "open"])
        self.wait_for(lambda: not self.data("--since", "500ms")["rule_files"][0]["hosts"][0]["events"])
        self.assertEqual([span["state"] for span in self.host(self.data("--since", "500ms"), self.down)["spans"]], ["open"])

    def test_the_bill_of_what_is_not_enforced(self):
        self.loop(self.shadow, 3)
        host = self.host(self.data(), self.shadow)
        self.assertEqual((host["counts"]["would_cut"], host["counts"]["would_reject"]), (1, 2))
        self.assertGreater(host["spared_ms"], 1500)
        self.assertTrue(all(event["shadow"] for event in host["events"]), host["events"])

    def test_a_loop_without_backoff_is_found_and_one_with_it_is_not(self):
        self.loop(self.down, 12)
        (loop,) = self.data()["loops"]
        self.assertEqual((loop["target"], loop["calls"], loop["runs"]), (f"127.0.0.1:{self.down}", 12, 1))
        self.assertTrue(loop["program"].startswith("python3"), loop)
        self.assertGreater(loop["gap_ms"], 9)
        shutil.rmtree(self.state)
        self.loop(self.down, 10, 0.005, 1.6)
        self.loop(self.down, 3)
        self.assertEqual(self.data()["loops"], [])

    def test_events_that_are_about_no_host(self):
        self.loop(self.down, 1)
        self.write("rules.yaml", "version: 1\nrules: 7\n")
        self.loop(self.down, 1)
        (file,) = self.data()["rule_files"]
        self.assertEqual([event["event"] for event in file["events"]], ["rules_bad"])

    def test_wrong_usage_and_files_that_cannot_be_written(self):
        for arguments in (["x"], ["--since", "x"], ["-o", self.folder + "/absent/report.html"], ["-o", self.folder]):
            self.resil("report", *arguments, expect=2)
        self.assertEqual([name for name in os.listdir(self.folder) if name.endswith(".new")], [])

    def test_a_page_replaces_the_one_before(self):
        path = self.write("report.html", "before")
        self.assertIn("is written", self.resil("report", "-o", path))
        with open(path) as file:
            text = file.read()
        self.assertTrue(text.startswith("<!doctype html>"))
        self.assertEqual([name for name in os.listdir(self.folder) if name.endswith(".new")], [])

    def test_the_page_loads_nothing(self):
        text = self.resil("report", "-o", "-")
        self.assertNotRegex(text, r"(?i)<(link|img|iframe|object|embed)|\bsrc=|url\(|@import|https?://(?!www\.w3\.org/2000/svg)")
        self.assertIn("default-src 'none'", text)


@unittest.skipUnless(shutil.which("chromium"), "chromium is not installed")
class Page(Told):
    def browse(self, text, *options):
        path = self.write("page.html", text)
        ended = self.run_program(["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                                  f"--user-data-dir={self.folder}/profile", "--virtual-time-budget=5000", *options, "--dump-dom",
                                  f"file://{path}"], how=BARE, seconds=120, HOME=self.folder)
        self.assertTrue(ended.is_good, ended)
        return ended.out

    def page(self):
        return self.resil("report", "-o", "-")

    def ask(self, page, function, *options):
        """What a function gives that runs in the page."""
        self.assertEqual(page.count("</body>"), 1)
        dom = self.browse(page.replace("</body>", PROBE % function), *options)
        title = html.unescape(re.search(r"<title>(.*?)</title>", dom, re.S).group(1))
        self.assertTrue(title.startswith(("{", "[")), title)
        return json.loads(title)

    def test_what_the_page_says(self):
        self.call_all()
        seen = self.ask(self.page(), """() => ({
            hosts: [...document.querySelectorAll("article")].map(a => [a.dataset.target, a.dataset.state, a.querySelector(".badge").textContent]),
            figures: Object.fromEntries([...document.querySelectorAll("#figures div")].map(d => [d.children[0].textContent, d.children[1].textContent])),
            bill: document.getElementById("bill").textContent,
            loops: document.getElementById("loops").textContent,
            spans: [...document.querySelectorAll("article")].map(a => a.querySelectorAll("[class^=span-]").length),
            latency: [...document.querySelectorAll(".latency h3")].map(h => h.textContent),
            events: document.querySelectorAll("article details tbody tr").length})""")
        self.assertEqual({host[0]: host[1] for host in seen["hosts"]},
                         {f"127.0.0.1:{self.down}": "open", f"127.0.0.1:{self.shadow}": "open", f"127.0.0.1:{self.good.port}": "closed"})
        self.assertEqual((seen["figures"]["Hosts"], seen["figures"]["Calls"], seen["figures"]["Rejected at once"]), ("3", "12", "6"))
        self.assertRegex(seen["bill"], r"With these rules enforced 3 calls would have failed fast, saving \d\S* s of waiting\.")
        self.assertRegex(seen["loops"], rf"127\.0\.0\.1:{self.down}8")
        self.assertTrue(all(seen["spans"]), seen)
        self.assertRegex(" ".join(seen["latency"]), r"Connects: half within .* First bytes of answers: half within \d\d")
        self.assertEqual(seen["events"], len([event for event in self.events() if event["target"].startswith("127.")]))

    def test_what_served_a_host_and_which_faults_there_were_on_purpose(self):
        rules = self.rules("""version: 1
rules:
  - {name: canned, match: {address: 127.0.0.1, port: %d}, degrade: [{respond: {text: instead}}]}
  - {name: itself, match: {address: 127.0.0.1, port: %d}, timeout: {connect: 1s}}
faults:
  - {name: late, match: {address: 127.0.0.1, port: %d}, on: [connect], latency: {delay: 1ms}}
""" % (self.down, self.good.port, self.good.port))
        for port, armed in (self.down, "0"), (self.good.port, "0"), (self.good.port, "1"), (self.good.port, "1"):
            ended = self.run_program([PYTHON, "-c", f"import socket; socket.create_connection(('127.0.0.1', {port}))"], rules, RESIL_FAULTS=armed)
            self.assertTrue(ended.is_good, ended)
        seen = self.ask(self.page(), """() => ({
            badges: Object.fromEntries([...document.querySelectorAll("article")].map(a => [a.dataset.target, [...a.querySelectorAll(".badge")].map(b => b.textContent)])),
            counts: [...document.querySelectorAll(".counts li")].map(l => l.textContent),
            figures: Object.fromEntries([...document.querySelectorAll("#figures div")].map(d => [d.children[0].textContent, d.children[1].textContent]))})""")
        state, served = seen["badges"][f"127.0.0.1:{self.down}"]
        self.assertEqual(state, "closed")
        self.assertRegex(served, r"^served by a canned answer \S+ ago$")
        self.assertEqual(seen["badges"][f"127.0.0.1:{self.good.port}"], ["closed"])
        self.assertEqual((seen["figures"]["Faults on purpose"], seen["figures"]["Degraded answers"]), ("2", "1"))
        self.assertIn("1 call", seen["counts"])
        self.assertIn("3 calls", seen["counts"])

    def test_arrow_keys_move_through_time_and_say_what_was(self):
        self.loop(self.down, 8)
        seen = self.ask(self.page(), """() => {
            const svg = document.querySelector(".timeline"), readout = document.querySelector(".readout");
            const press = key => { svg.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true})); return readout.textContent; };
            svg.focus();
            return {isFocused: document.activeElement === svg, label: svg.getAttribute("aria-label"),
                    end: press("End"), before: press("ArrowLeft"), begin: press("Home"), live: readout.getAttribute("aria-live")}; }""")
        self.assertTrue(seen["isFocused"])
        self.assertEqual(seen["live"], "polite")
        self.assertIn("rejected 6", seen["label"])
        self.assertRegex(seen["end"], "circuit open; ")
        self.assertNotEqual(seen["before"].split(":")[0], "")
        self.assertRegex(seen["begin"], r"connect failed 1.* Last: python3\S*\[\d+\] ")

    def test_light_and_dark(self):
        self.loop(self.down, 3)
        look = """() => { const button = document.getElementById("theme"), colour = () => getComputedStyle(document.body).backgroundColor, seen = [colour()];
            for (let i = 0; i < 3; i++) { button.click(); seen.push(button.textContent, colour()); }
            return seen; }"""
        light, dark = "rgb(246, 247, 249)", "rgb(20, 23, 27)"
        page = self.page()
        self.assertEqual(self.ask(page, look), [light, "Theme: light", light, "Theme: dark", dark, "Theme: system", light])
        self.assertEqual(self.ask(page, look, "--force-dark-mode"), [dark, "Theme: light", light, "Theme: dark", dark, "Theme: system", dark])

    def test_texts_are_read_easily_in_both(self):
        """Contrast of 4.5 and more, as accessibility guidelines want it."""
        self.call_all()
        contrast = """() => {
            const parts = c => c.match(/[\\d.]+/g).map(Number);
            const light = c => parts(c).slice(0, 3).map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
                               .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
            const behind = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if (parts(c).length < 4 || parts(c)[3] > 0) return c; } };
            const bad = [];
            for (const theme of ["light", "dark"]) {
                document.documentElement.dataset.theme = theme;
                const look = (name, text, ground) => { const [a, b] = [light(text), light(ground)].sort((x, y) => y - x);
                    if ((a + 0.05) / (b + 0.05) < 4.5) bad.push([theme, name, text, ground]); };
                for (const e of document.querySelectorAll("p, dt, dd, li, h1, h2, h3, td, th, summary, .badge, .rule, .ends, button, footer"))
                    look(e.className || e.tagName, getComputedStyle(e).color, behind(e));
                for (const e of document.querySelectorAll(".timeline .in"))
                    look("in", getComputedStyle(e).fill, getComputedStyle(document.querySelector(".span-" + e.classList[1].slice(3))).fill);
            }
            return bad; }"""
        self.assertEqual(self.ask(self.page(), contrast), [])

    def test_a_phone_shows_all_of_it_without_scrolling_sideways(self):
        self.call_all()
        frame = json.dumps(self.page()).replace("<", "\\u003c")
        dom = self.browse("<!doctype html><html><head><title></title></head><body><script>"
                          "const f = document.createElement('iframe'); f.width = 360; f.height = 800; f.srcdoc = %s;"
                          "f.onload = () => { const d = f.contentDocument.documentElement;"
                          "document.title = JSON.stringify([d.scrollWidth, d.clientWidth, f.contentDocument.querySelectorAll('article').length,"
                          "Math.min(...[...f.contentDocument.querySelectorAll('.timeline text')].map(t => t.getBoundingClientRect().height))]); };"
                          "document.body.append(f);</script></body></html>" % frame)
        wide, has, hosts, letters = json.loads(re.search(r"<title>(.*?)</title>", dom).group(1))
        self.assertLessEqual(wide, has)
        self.assertEqual(hosts, 3)
        self.assertGreater(letters, 9)

    def test_names_from_elsewhere_are_only_text(self):
        """Shared memory and programs' names are others': what looks like markup is shown as it is."""
        program = os.path.join(self.folder, "</script><b>x")
        os.makedirs(os.path.dirname(program), exist_ok=True)
        shutil.copy("/usr/bin/perl", program)
        code = 'for (1..3) { socket(S, 2, 1, 0); connect(S, pack("SnCCCCx8", 2, $ARGV[0], 127, 0, 0, 1)) }'
        self.run_program([program, "-e", code, str(self.down)], self.rule_file)
        self.assertIn("script><b>x", {event["program"] for event in self.events()})
        seen = self.ask(self.page(), """() => ({bold: [...document.querySelectorAll("td b, p b")].length, cells: [...document.querySelectorAll("td")].map(td => td.textContent)})""")
        self.assertEqual(seen["bold"], 0)
        self.assertTrue(any("script><b>x[" in cell for cell in seen["cells"]), seen)

    def test_nothing_yet_is_said(self):
        seen = self.ask(self.page(), """() => [document.getElementById("nothing").textContent]""")
        self.assertEqual(seen, ["No program of this user has called a host that a rule is for."])


if __name__ == "__main__":
    main()
