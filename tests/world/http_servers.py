"""Small real servers on this machine: one with pages to fetch, one that keeps what is posted."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, NamedTuple


class Posted(NamedTuple):
    """One request that was posted."""

    path: str
    headers: dict[str, str]
    body: Any


@contextmanager
def served(pages: Mapping[str, tuple[int, str]], kept: list[Posted] | None = None, post_status: int = 204, key: str = "") -> Iterator[str]:
    """The address of a server with these pages, which may change while it runs; with a key, for those who show it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_locked = bool(key) and self.headers["Authorization"] != f"Bearer {key}"
            status, text = (401, "") if is_locked else pages.get(self.path, (404, ""))
            self.send_response(status)
            if status in {301, 302}:
                self.send_header("Location", text)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if kept is not None:
                kept.append(Posted(self.path, dict(self.headers), body))
            self.send_response(post_status)
            self.end_headers()

        def log_message(self, *_words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
