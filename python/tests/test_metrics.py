"""The text of metrics, read by Prometheus's own reader of OpenMetrics, which takes nothing that is not to the letter."""

import glob
import os
import sys
import unittest

import nixl_store

from .common import KIB, StoreTest, payload

try:
    from prometheus_client.openmetrics import parser
except ImportError:
    # It is of Python alone, so that what `make setup` installed for one serves all.
    root = os.path.join(os.path.dirname(__file__), "..", "..", ".venv", "lib", "python3*", "site-packages")
    installed = glob.glob(root)
    sys.path.extend(installed)
    try:
        from prometheus_client.openmetrics import parser
    except ImportError:
        parser = None
    finally:
        del sys.path[len(sys.path) - len(installed) :]


@unittest.skipIf(parser is None, "prometheus-client is not installed; make setup installs it")
class Metrics(StoreTest):
    def samples(self, text: str) -> dict[tuple[str, tuple[str, ...]], float]:
        """Each sample, by its name and the values of its labels but for the store's."""
        found: dict[tuple[str, tuple[str, ...]], float] = {}
        for family in parser.text_string_to_metric_families(text):
            self.assertTrue(family.name.startswith("nixl_store"))
            self.assertTrue(family.documentation)
            for sample in family.samples:
                values = tuple(value for label, value in sorted(sample.labels.items()) if label != "store")
                self.assertIn("store", sample.labels)
                found[sample.name, values] = sample.value
        return found

    def test_what_is_told_is_what_was_done(self) -> None:
        store = self.open()
        objects = {f"key-{seed}": payload(seed, 64 * KIB) for seed in range(5)}
        for key, content in objects.items():
            store.put(key, content)
            self.assertEqual(store.get(key), content)
        self.assertIsNone(store.get("absent"))
        samples, stats = self.samples(store.metrics_text()), store.stats()
        self.assertEqual(samples["nixl_store_gets_total", ("hit",)], 5)
        self.assertEqual(samples["nixl_store_gets_total", ("miss",)], stats.gets_missed)
        self.assertEqual(samples["nixl_store_puts_total", ("stored",)], 5)
        self.assertEqual(samples["nixl_store_keys", ()], stats.keys)
        self.assertEqual(samples["nixl_store_payload_bytes_total", ("put",)], stats.bytes_put)
        for direction in ("get", "put"):
            self.assertEqual(samples["nixl_store_latency_seconds_count", (direction, "64KiB")], 5)
            self.assertGreater(samples["nixl_store_latency_seconds_sum", (direction, "64KiB")], 0)

    def test_all_stores_are_one_text(self) -> None:
        first = self.open()
        second = self.open(nixl_backend="MEMORY", use_direct_io=False)
        first.put("key", b"content")
        families = list(parser.text_string_to_metric_families(nixl_store.metrics_text()))
        self.assertEqual(len(families), len({family.name for family in families}))
        (info,) = (family for family in families if family.name == "nixl_store")
        backends = {sample.labels["store"]: sample.labels["backend"] for sample in info.samples}
        self.assertEqual(sorted(backends.values()), ["MEMORY", "POSIX"])
        second.close()
        first.close()
        self.assertEqual(list(self.samples(nixl_store.metrics_text())), [])
        with self.assertRaises(nixl_store.ClosedError):
            first.metrics_text()


if __name__ == "__main__":
    unittest.main()
