"""A small server for tests: it prints lines that real engines print, allocates what it is told to, and answers like an engine.

Its flags are llama.cpp's as far as memory needs: ``-c TOKENS`` times ``--token-bytes`` are allocated before it answers. ``--workers N``
starts processes that leave its session and map shared memory; ``--fail-with LINE`` prints the line and exits with ``--code``;
a request that holds the word of ``--mute`` is never answered.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

BLOCK = {"f16": 32, "q8_0": 17, "q4_0": 9}  # of 64 bytes of keys and values, each kind half
WORKER = """
import multiprocessing, os, signal, time
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory
os.setsid()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
shared = SharedMemory(create=True, size=1 << 16)
resource_tracker.unregister(shared._name, "shared_memory")
lock = multiprocessing.get_context("spawn").Semaphore(1)
os.write(1, f"worker {os.getpid()} {shared.name}\\nworker {os.getpid()} sem.{lock._semlock.name[1:]}\\n".encode())
time.sleep(600)
"""


class Handler(BaseHTTPRequestHandler):
    key: str | None = None
    mute: str | None = None

    def _answer(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self._answer({"data": [{"id": "small"}]} if self.path == "/v1/models" else {"status": "ok", "pid": os.getpid()})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.mute and self.mute.encode() in body:
            time.sleep(600)
        if self.key and self.headers.get("Authorization") != f"Bearer {self.key}":
            self.send_error(401)
            return
        self._answer({"choices": [{"text": "."}], "pid": os.getpid()})

    def log_message(self, *_words: Any) -> None:
        pass


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def fail(line: str, code: int) -> None:
    say(line)
    if code < 0:
        os.kill(os.getpid(), -code)
        time.sleep(10)
    sys.exit(code)


def main() -> None:
    parser = argparse.ArgumentParser(prog="llama-server")
    parser.add_argument("-m")
    parser.add_argument("-c", "--ctx-size", type=int, default=1024)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--token-bytes", type=int, default=0)
    parser.add_argument("--cache-type-k", default="f16")
    parser.add_argument("--cache-type-v", default="f16")
    parser.add_argument("--api-key")
    parser.add_argument("--mute")
    parser.add_argument("--deaf", action="store_true")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--fail-with")
    parser.add_argument("--code", type=int, default=1)
    parser.add_argument("--once", help="a file; it fails only while the file is not there")
    parser.add_argument("--limit-bytes", type=int, default=0)
    said, _ = parser.parse_known_args()
    if said.limit_bytes:
        import resource  # noqa: PLC0415 - where it is asked for

        resource.setrlimit(resource.RLIMIT_AS, (said.limit_bytes, said.limit_bytes))
    if said.fail_with and not (said.once and Path(said.once).exists()):
        if said.once:
            Path(said.once).touch()
        fail(said.fail_with, said.code)
    wanted = sum(said.ctx_size * said.token_bytes // 64 * BLOCK[kind] for kind in (said.cache_type_k, said.cache_type_v))
    try:
        held = bytearray(wanted)
    except MemoryError:
        say(f"ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size {wanted}")
        fail("llama_init_from_model: failed to initialize the context: failed to allocate buffer for kv cache", 1)
    say(f"llama_kv_cache: size = {wanted / (1 << 20):.2f} MiB ({said.ctx_size} cells, 2 layers, 1/1 seqs)")
    for _ in range(said.workers):
        subprocess.Popen([sys.executable, "-c", WORKER])
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN if said.deaf else lambda *_: sys.exit(0))
    Handler.key, Handler.mute = said.api_key, said.mute
    server = ThreadingHTTPServer((said.host, said.port), Handler)
    say(f"main: server is listening on http://{said.host}:{said.port}")
    server.serve_forever()
    del held


if __name__ == "__main__":
    main()
