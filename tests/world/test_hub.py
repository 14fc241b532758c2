"""The Hub as a small server of this test: only documents and header bytes may be asked for."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.world.test_files import tensors_of, write_config, write_safetensors

from ullage.errors import InputError
from ullage.world import hub
from ullage.world._names import one_model


class Server(ThreadingHTTPServer):
    """Serves one repository from a directory and counts the bytes of weights it gave."""

    folder: Path
    sent_bytes = 0


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/api/models/org/model"):
            files = [{"rfilename": file.name, "size": file.stat().st_size} for file in sorted(self.server.folder.iterdir())]
            body = {"id": "org/model", "sha": "0123456789abcdef", "siblings": files, "private": False}
            self.answer(200, json.dumps(body).encode())
        elif path.startswith("/org/model/resolve/"):
            file = self.server.folder / path.rpartition("/")[2]
            first, last = self.headers["Range"].removeprefix("bytes=").split("-")
            data = file.read_bytes()[int(first) : int(last) + 1]
            self.server.sent_bytes += len(data)
            self.answer(206, data)
        else:
            self.answer(404, b"{}", ("X-Error-Code", "RepoNotFound"))

    def answer(self, code: int, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(code)
        for name, value in (("Content-Type", "application/json"), ("Content-Length", str(len(body))), *headers):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as made:
        made.folder = tmp_path / "repository"
        made.folder.mkdir()
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()


def ask(server: Server, word: str) -> subprocess.CompletedProcess[str]:
    home = str(server.folder.parent)
    environment = {**os.environ, "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": home, "HF_HUB_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, "-m", "ullage", "models", word, "--json"]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=60)


def test_a_hub_model_is_sized_from_its_headers_without_its_weights(server: Server) -> None:
    write_config(server.folder, hidden_size=512, intermediate_size=2048, vocab_size=8000)
    nbytes = write_safetensors(server.folder / "model.safetensors", tensors_of(server.folder))
    done = ask(server, "org/model")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["weight_bytes"], found["exact"], found["source"]) == (nbytes, True, "org/model@0123456789ab")
    assert server.sent_bytes < (1 << 20) + (1 << 16) < nbytes


def test_a_model_that_is_not_there_ends_with_four_and_one_line(server: Server) -> None:
    done = ask(server, "org/other")
    assert done.returncode == 4
    assert done.stderr.count("\n") == 1
    assert "org/other" in done.stderr


@pytest.mark.parametrize("word", ["Qwen/Qwen3-8B", "org/model@v1.0", "hf:org/model:Q4_K_M", "org/model@refs/pr/1"])
def test_an_id_is_recognised(word: str) -> None:
    assert hub.is_id(word)


@pytest.mark.parametrize("word", ["model", "org/", "a/b/c", "hf:", "org/model:", "org/mo del"])
def test_what_is_no_id_is_not(word: str) -> None:
    assert not hub.is_id(word)


def test_a_variant_picks_its_gguf_file() -> None:
    names = ("m-Q4_K_M.gguf", "m-Q8_0.gguf", "config.json")
    assert hub._chosen(names, "q4_k_m", "org/m") == ("m-Q4_K_M.gguf",)
    with pytest.raises(InputError, match="Q8_0"):
        hub._chosen(names, "Q5_K_M", "org/m")


def test_an_unsplit_copy_beside_the_shards_is_not_counted_twice() -> None:
    shards = tuple(f"model-{number:05d}-of-00002.safetensors" for number in (1, 2))
    assert one_model(("consolidated.safetensors", *shards), "here", ("consolidated.safetensors", *shards)) == shards


def test_a_hub_that_does_not_answer_is_asked_once_and_the_lengths_are_estimated(tmp_path: Path) -> None:
    (tmp_path / "load.jsonl").write_text('{"messages": [{"role": "user", "content": "How much room is left?"}]}\n')
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "ullage", "workload", str(tmp_path / "load.jsonl"), "--model", "Qwen3-8B"]

    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=60)

    assert (done.returncode, "Retrying" in done.stderr) == (0, False), done.stderr
    assert "lengths are estimated" in done.stdout
