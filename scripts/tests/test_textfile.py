"""The script of docs/METRICS.md that hands metrics to node-exporter: run as it stands there, beside sockets that answer as stores do."""

import http.server
import pathlib
import re
import shutil
import socketserver
import subprocess
import sys
import tempfile
import threading
import unittest

DOCUMENT = (pathlib.Path(__file__).parents[2] / "docs" / "METRICS.md").read_text()
# Seconds that the script may take, on a machine that may be busy.
SECONDS_MAX = 60
TEXT = """# HELP nixl_store What the store is.
# TYPE nixl_store info
nixl_store_info{store="1",version="0.1.0",pid="7"} 1
# HELP nixl_store_gets Gets that ended.
# TYPE nixl_store_gets counter
nixl_store_gets_total{store="1",outcome="hit"} 30
# TYPE nixl_store_stored_bytes gauge
# UNIT nixl_store_stored_bytes bytes
nixl_store_stored_bytes{store="1"} 4096
# EOF
"""
OLDER_TEXT = """# TYPE nixl_store_info gauge
nixl_store_info{pid="4711",store="1",version="0.1.0"} 1
# TYPE nixl_store_gets_total counter
nixl_store_gets_total{pid="4711",store="1",outcome="hit"} 30
# TYPE nixl_store_stored_bytes gauge
nixl_store_stored_bytes{pid="4711",store="1"} 4096
"""


class Store(socketserver.UnixStreamServer):
    """Answers every request on a socket with a status and the text."""

    def __init__(self, path, status):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status)
                self.end_headers()
                self.wfile.write(TEXT.encode())

            def log_message(self, *_):
                pass

            def address_string(self):
                return ""

        super().__init__(str(path), Handler)
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def handle_error(self, request, client_address):
        """curl goes as soon as it knows the status; anything else is a fault of this test."""
        if not isinstance(sys.exc_info()[1], BrokenPipeError):
            super().handle_error(request, client_address)

    def end(self):
        self.shutdown()
        self.thread.join()
        self.server_close()


@unittest.skipIf(shutil.which("curl") is None, "curl is not installed")
class Textfile(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.sockets, self.collected = (pathlib.Path(folder.name) / name for name in ("sockets", "collected"))
        self.sockets.mkdir()
        self.collected.mkdir()

    def store(self, name, status=200):
        store = Store(self.sockets / f"{name}.sock", status)
        self.addCleanup(store.end)

    def run_script(self):
        (script,) = (block for block in re.findall(r"```sh\n(.*?)```", DOCUMENT, re.S) if "node_exporter" in block)
        for theirs, ours in (("/run/user/1000/nixl_store", self.sockets), ("/var/lib/node_exporter", self.collected)):
            self.assertIn(theirs, script)
            script = script.replace(theirs, str(ours))
        ended = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=SECONDS_MAX)
        self.assertEqual((ended.returncode, ended.stdout, ended.stderr), (0, "", ""))
        return {path.name: path.read_text() for path in self.collected.iterdir()}

    def test_a_store_is_told_in_the_older_form(self):
        self.store("4711-1")
        self.assertEqual(self.run_script(), {"nixl_store-4711-1.prom": OLDER_TEXT})

    def test_without_stores_nothing_is_told(self):
        self.assertEqual(self.run_script(), {})

    def test_what_is_gone_or_does_not_answer_leaves_nothing(self):
        self.store("4711-1")
        self.store("4712-1", status=500)
        # The socket of a process that was killed.
        killed = Store(self.sockets / "4713-1.sock", 200)
        killed.end()
        others = {"nodes.prom": "up 1\n"}
        for name in ("nixl_store-4710-1.prom", "nixl_store-4712-1.prom", "nixl_store-4713-1.prom", *others):
            (self.collected / name).write_text("up 1\n")
        self.assertEqual(self.run_script(), {"nixl_store-4711-1.prom": OLDER_TEXT, **others})


if __name__ == "__main__":
    unittest.main()
