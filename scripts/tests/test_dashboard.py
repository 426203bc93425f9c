"""The Grafana dashboard: it draws what the library tells, in the way in which that may be drawn.

What a number is, is taken from the table of docs/METRICS.md, which a test of the library compares with the library. That every
expression is PromQL is seen by Prometheus's grammar (promql-parser from PyPI), and the whole by Grafana's own classes
(grafana-foundation-sdk), where they are installed.
"""

import itertools
import json
import pathlib
import re
import unittest

try:
    import promql_parser
except ImportError:
    promql_parser = None

ROOT = pathlib.Path(__file__).parents[2]
DASHBOARD = json.loads((ROOT / "docs" / "grafana-dashboard.json").read_text())
# The grid of Grafana has so many columns.
COLUMNS = 24
SUFFIXES = {"counter": ["_total"], "gauge": [""], "info": ["_info"], "histogram": ["_bucket", "_count", "_sum"]}
# What Prometheus adds to every sample, and a bucket has.
LABELS_OF_ALL = {"instance", "job", "store", "le"}
# Functions that take what only rises, over a time.
OF_COUNTERS = ("rate", "increase")


def samples():
    """Name of each sample, with the type of its family, and its labels."""
    found = {}
    for name, kind, labels in re.findall(
        r"^\| `(nixl_store\w*)` \| (\w+) \| ([^|]*)\|", (ROOT / "docs" / "METRICS.md").read_text(), re.M
    ):
        # Values stand in brackets behind their label.
        names = set(re.findall(r"`(\w+)`", re.sub(r"\([^)]*\)", "", labels)))
        for suffix in SUFFIXES[kind]:
            found[name + suffix] = (kind, names | LABELS_OF_ALL)
    return found


def expressions():
    """Of each target of each panel, the panel's title and the expression."""
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def plain(expression):
    """An expression in which Grafana has filled in its variables."""
    for name, value in (("$__rate_interval", "1m"), ("$__range", "1h"), ("$instance", ".*"), ("$store", ".*")):
        expression = expression.replace(name, value)
    return expression


class Dashboard(unittest.TestCase):
    def test_every_expression_names_what_there_is(self):
        known = samples()
        self.assertGreater(len(known), 20)
        named = set()
        for title, expression in expressions():
            for name, selector in re.findall(r"(nixl_store\w*)(\{[^}]*\})?", expression):
                with self.subTest(panel=title, name=name):
                    self.assertIn(name, known)
                    labels = set(re.findall(r'(\w+)(?:=~|=|!=)"', selector))
                    self.assertTrue(labels <= known[name][1], f"{labels} of {name}, which has {known[name][1]}")
                    self.assertTrue({"instance", "store"} <= labels, "whose?")
                named.add(name)
            grouped = re.findall(r"\bby \(([^)]*)\)", expression)
            for label in itertools.chain.from_iterable(group.split(", ") for group in grouped):
                self.assertTrue(any(label in labels for _, labels in known.values()), f"{title}: {label}")
        # Nothing that an operator asks for first is left out.
        for family in ("gets_total", "puts_total", "payload_bytes_total", "latency_seconds_bucket", "evictions_total"):
            self.assertIn("nixl_store_" + family, named)

    def test_counters_are_drawn_as_rates_and_gauges_as_they_are(self):
        known = samples()
        for title, expression in expressions():
            for match in re.finditer(r"(?:(\w+)\()?(nixl_store\w*)\{[^}]*\}(\[)?", expression):
                function, name, is_range = match.groups()
                rises = known[name][0] in ("counter", "histogram")
                with self.subTest(panel=title, name=name):
                    self.assertEqual(rises, function in OF_COUNTERS)
                    self.assertEqual(rises, bool(is_range))
            with self.subTest(panel=title):
                self.assertEqual("histogram_quantile(" in expression, "_bucket" in expression)
                if "_bucket" in expression:
                    self.assertRegex(expression, r"sum by \(le\b")

    @unittest.skipIf(promql_parser is None, "promql-parser is not installed; make setup installs it")
    def test_every_expression_is_promql(self):
        for title, expression in expressions():
            with self.subTest(panel=title):
                promql_parser.parse(plain(expression))
        alerts = (ROOT / "docs" / "METRICS.md").read_text().split("## Alerts")[1]
        found = [expression for expression in re.findall(r"`([^`]*)`", alerts) if "nixl_store" in expression]
        self.assertGreater(len(found), 5)
        for expression in found:
            with self.subTest(alert=expression):
                promql_parser.parse(expression)

    def test_alerts_name_what_there_is(self):
        alerts = (ROOT / "docs" / "METRICS.md").read_text().split("## Alerts")[1]
        for name in re.findall(r"\bnixl_store_\w+", alerts):
            self.assertIn(name, samples())

    def test_panels_have_their_places(self):
        panels = DASHBOARD["panels"]
        ids = [panel["id"] for panel in panels]
        self.assertEqual(len(ids), len(set(ids)))
        taken = {}
        for panel in panels:
            place = panel["gridPos"]
            self.assertLessEqual(place["x"] + place["w"], COLUMNS, panel["title"])
            for cell in itertools.product(
                range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
            ):
                self.assertNotIn(cell, taken, f"{panel['title']} lies over {taken.get(cell)}")
                taken[cell] = panel["title"]
            references = [target["refId"] for target in panel["targets"]]
            self.assertEqual(len(references), len(set(references)), panel["title"])
            self.assertTrue(panel["description"].endswith("."), panel["title"])

    def test_whoever_imports_it_chooses_the_source(self):
        variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
        self.assertEqual((variables["datasource"]["type"], variables["datasource"]["query"]), ("datasource", "prometheus"))
        sources = [panel["datasource"] for panel in DASHBOARD["panels"]]
        sources += [target["datasource"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
        sources += [variables[name]["datasource"] for name in ("instance", "store")]
        for source in sources:
            self.assertEqual(source, {"type": "prometheus", "uid": "${datasource}"})
        self.assertIsNone(DASHBOARD["id"])
        used = set(re.findall(r"\$\{?(\w+)", json.dumps([list(expressions()), sources])))
        self.assertEqual(used - {"__rate_interval", "__range"}, set(variables))


if __name__ == "__main__":
    unittest.main()
