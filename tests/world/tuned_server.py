"""A server whose speed hangs on its settings, for tests: it streams completions as llama.cpp's server does.

``--ubatch-size`` works prompts through the faster the larger it is, up to a point; ``--parallel`` is how many requests are answered at
once, each a little slower than alone. A request's answer is streamed a token at a time; the times are slept, so that they are what they are
on a busy machine too.
"""

import argparse
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PREFILL_S = {128: 0.060, 256: 0.040, 512: 0.030, 1024: 0.036}  # of one prompt
BATCH = {1024: 1.15, 2048: 1.0, 4096: 1.08}  # how much slower a token is
TOKEN_S = {1: 0.010, 2: 0.012, 4: 0.018, 8: 0.050}  # of one token, by the requests that may run at once


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    said: argparse.Namespace
    places: threading.Semaphore

    def _answer(self, value: object, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self._answer({"data": [{"id": "small"}]} if self.path == "/v1/models" else {"status": "ok"})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        if self.said.words_only and not isinstance(asked["prompt"], str):
            self._answer({"error": {"message": "a prompt is a string"}}, 400)
            return
        tokens = int(asked.get("max_tokens", 1))
        if not asked.get("stream"):
            self._answer({"choices": [{"text": "."}]})
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        with self.places:
            time.sleep(PREFILL_S[self.said.ubatch_size])
            for _ in range(tokens):
                time.sleep(TOKEN_S[self.said.parallel] * BATCH.get(self.said.batch_size, 1.0))
                self._event({"choices": [{"text": "."}]})
        self._event({"choices": [], "usage": {"completion_tokens": tokens}})
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def _event(self, value: object) -> None:
        self.wfile.write(f"data: {json.dumps(value)}\n\n".encode())
        self.wfile.flush()

    def log_message(self, *_words: Any) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(prog="llama-server")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("-ub", "--ubatch-size", type=int, default=512)
    parser.add_argument("-b", "--batch-size", type=int, default=2048)
    parser.add_argument("-np", "--parallel", type=int, default=1)
    parser.add_argument("--words-only", action="store_true")
    parser.add_argument("--fails-at", type=int, default=0, help="the ubatch size that ends it at the start")
    said, _ = parser.parse_known_args()
    if said.fails_at == said.ubatch_size:
        sys.stdout.write("ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 99\n")
        sys.exit(1)
    Handler.said, Handler.places = said, threading.Semaphore(said.parallel)
    ThreadingHTTPServer.request_queue_size = 128
    ThreadingHTTPServer((said.host, said.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
