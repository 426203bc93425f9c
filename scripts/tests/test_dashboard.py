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


def alerts():
    """The expressions of the document's table of alerts."""
    table = (ROOT / "docs" / "METRICS.md").read_text().split("## Alerts")[1]
    return [expression for expression in re.findall(r"`([^`]*)`", table) if "nixl_store" in expression]


# What stands between two vectors of which PromQL brings those together that have the same labels.
OPERATOR = re.compile(r"\s([-+*/<>]|==|!=|>=|<=)\s+(?!\s*(?:bool\s+)?(?:on|ignoring)\b)")
# What takes labels away, so that the two sides need not have had the same ones.
AGGREGATION = re.compile(r"\b(?:sum|min|max|avg|count|group|histogram_quantile|absent)\b")


def sides(expression):
    """Of each operator that matches on all labels, what stands on its left and on its right."""
    # Strings, where anything may stand, keep their length.
    masked = re.sub(r'"[^"]*"', lambda found: '"' + "_" * (len(found[0]) - 2) + '"', expression)
    for operator in OPERATOR.finditer(masked):
        left, right = operator.start(), operator.end()
        for step, opening, closing in ((-1, ")", "("), (1, "(", ")")):
            at, depth = (left - 1, 0) if step < 0 else (right, 0)
            while 0 <= at < len(masked):
                depth += (masked[at] in opening) - (masked[at] in closing)
                if depth < 0 or depth == 0 and re.match(r"\s([-+*/<>]|[=!<>]=|and|or|unless)\s", masked[at : at + 8]):
                    break
                at += step
            if step < 0:
                left = at + 1
            else:
                right = at
        yield expression[left : operator.start()], expression[operator.end() : right]


def labels_of(side, known):
    """The labels that the samples of one side have, with the values that it chose."""
    found = set()
    for name, selector in re.findall(r"(nixl_store\w*)(\{[^}]*\})?", side):
        chosen = dict(re.findall(r'(\w+)="([^"]*)"', selector))
        found.add(frozenset((label, chosen.get(label)) for label in known[name][1] | set(chosen)))
    return found


def unmatched(expression, known):
    """The pairs of sides of an expression that never have the same labels, so that nothing ever comes out."""
    for left, right in sides(expression):
        if AGGREGATION.search(left) or AGGREGATION.search(right):
            continue
        here, there = labels_of(left, known), labels_of(right, known)
        if here and there and here != there:
            yield left, right


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
        self.assertGreater(len(alerts()), 5)
        for expression in alerts():
            with self.subTest(alert=expression):
                promql_parser.parse(expression)

    def test_alerts_name_what_there_is(self):
        table = (ROOT / "docs" / "METRICS.md").read_text().split("## Alerts")[1]
        for name in re.findall(r"\bnixl_store_\w+", table):
            self.assertIn(name, samples())

    def test_both_sides_of_an_operator_have_the_same_labels(self):
        known = samples()
        for wrong in (
            'rate(nixl_store_moved_bytes_total{path="staged"}[5m]) > rate(nixl_store_moved_bytes_total{path="direct"}[5m])',
            "(nixl_store_stored_bytes / nixl_store_gets_total) > 0.5",
        ):
            self.assertEqual(len(list(unmatched(wrong, known))), 1, wrong)
        for title, expression in [*expressions(), *((alert, alert) for alert in alerts())]:
            with self.subTest(panel=title):
                self.assertEqual(list(unmatched(expression, known)), [])

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
