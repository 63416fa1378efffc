"""Who looks at the figures of a mount: a Prometheus that fetches them, and a receiver of OpenTelemetry."""

from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

INTERVAL = 1
"""Seconds between two looks, of each."""


class Observers:
    """Both of them, from the mount on until they are closed."""

    def __init__(self, directory: Path) -> None:
        self._socket = directory.with_suffix(".metrics")
        self._over = threading.Event()
        self._fetched = self._received = 0
        self._receiver = HTTPServer(("127.0.0.1", 0), self._handler())
        self._threads = [
            threading.Thread(target=self._receiver.serve_forever, daemon=True),
            threading.Thread(target=self._fetch, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def flags(self) -> list[str]:
        """What the command is to be told of them."""
        endpoint = f"http://127.0.0.1:{self._receiver.server_port}"
        line = ["--metrics-listen", f"unix:{self._socket}"]
        return [*line, "--otlp-endpoint", endpoint, "--otlp-export-interval", str(INTERVAL)]

    def close(self) -> None:
        """Ends them; raises if one of them has not seen a figure."""
        self._over.set()
        self._receiver.shutdown()
        self._receiver.server_close()
        for thread in self._threads:
            thread.join()
        if not self._fetched or not self._received:
            raise RuntimeError(f"figures were fetched {self._fetched} times and received {self._received} times")

    def _fetch(self) -> None:
        # The first time soon after the mount listens.
        while not self._over.wait(INTERVAL if self._fetched else 0.05):
            try:
                with socket.socket(socket.AF_UNIX) as connection:
                    connection.connect(str(self._socket))
                    connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
            except OSError:
                continue
            self._fetched += answer.startswith(b"HTTP/1.1 200 ")

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Receiver(BaseHTTPRequestHandler):
            """Takes every message."""

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                outer._received += 1
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        return Receiver
