"""A stand-in for the Hub on the loopback interface. ``python hub.py FOLDER ID...`` writes the repositories, prints the port, and serves.

The server is also the proxy that leads to it, so programs that know no other address than https://huggingface.co reach it unchanged. A
connection to anywhere else is refused.
"""

import json
import re
import ssl
import subprocess
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from repositories import write

HOST, COMMIT = "huggingface.co", "0123456789abcdef0123456789abcdef01234567"
MOST_BYTES = 64 << 20  # more than any header of these models
_ID = r"(?P<id>[\w.-]+/[\w.-]+)"
_LISTING = re.compile(rf"/api/models/{_ID}(/revision/[^/]+)?")
_TREE = re.compile(rf"/api/models/{_ID}/tree/[^/]+")
_FILE = re.compile(rf"/{_ID}/resolve/[^/]+/(?P<name>[\w.-]+)")
_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


def certificate(folder: Path) -> Path:
    """A key and a certificate for the Hub's name, made for this run. Raises SystemExit where openssl is missing."""
    path = folder / "hub.pem"
    who = ("-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}", "-days", "2")
    command = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *who, "-keyout", str(path), "-out", f"{path}.crt")
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"openssl made no certificate: {error}")
    return path


class Hub(ThreadingHTTPServer):
    """Serves every repository below ``folder`` to those who trust its certificate."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Visitor)
        key = certificate(folder)
        self.folder = folder
        self.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.tls.load_cert_chain(f"{key}.crt", key)

    def handle_error(self, *_: object) -> None:
        """A visitor that hangs up early is no news."""


class Visitor(BaseHTTPRequestHandler):
    """One connection: first the proxy that is asked for the Hub, then, inside TLS, the Hub."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: Hub

    def do_CONNECT(self) -> None:
        """Become the Hub for the one who asks for it."""
        if self.path != f"{HOST}:443":
            self.send_error(HTTPStatus.FORBIDDEN, "this is a loopback server")
            return
        self.send_response(HTTPStatus.OK)
        self.end_headers()
        self.wfile.flush()
        self.connection = self.server.tls.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb")
        self.close_connection = False

    def do_GET(self) -> None:
        """A listing, a tree, or a range of a file."""
        path = self.path.partition("?")[0]
        for pattern, answer in ((_LISTING, self.listing), (_TREE, self.tree), (_FILE, self.file)):
            found = pattern.fullmatch(path)
            if found is not None and (self.server.folder / found["id"]).is_dir():
                answer(self.server.folder / found["id"], found)
                return
        self.reply(HTTPStatus.NOT_FOUND, b"{}", {"X-Error-Code": "RepoNotFound"})

    def do_HEAD(self) -> None:
        """The same without a body."""
        self.do_GET()

    def listing(self, repository: Path, found: re.Match[str]) -> None:
        """What ``model_info`` gives."""
        files = [{"rfilename": file.name, "size": file.stat().st_size} for file in sorted(repository.iterdir())]
        self.reply_json({"id": found["id"], "modelId": found["id"], "sha": COMMIT, "private": False, "siblings": files})

    def tree(self, repository: Path, _: re.Match[str]) -> None:
        """What the listing of a folder gives."""
        self.reply_json([{"type": "file", "path": file.name, "size": file.stat().st_size} for file in sorted(repository.iterdir())])

    def file(self, repository: Path, found: re.Match[str]) -> None:
        """A file, or the range that is asked for."""
        path = repository / found["name"]
        if not path.is_file():
            self.reply(HTTPStatus.NOT_FOUND, b"", {"X-Error-Code": "EntryNotFound"})
            return
        total = path.stat().st_size
        asked = _RANGE.fullmatch(self.headers.get("Range", ""))
        first, last = (int(asked[1]), min(int(asked[2]), total - 1)) if asked else (0, total - 1)
        if last - first >= MOST_BYTES:
            self.send_error(HTTPStatus.FORBIDDEN, "no program here has to read the weights")
            return
        with path.open("rb") as opened:
            opened.seek(first)
            data = opened.read(last - first + 1)
        about = {"Content-Range": f"bytes {first}-{last}/{total}"} if asked else {}
        status = HTTPStatus.PARTIAL_CONTENT if asked else HTTPStatus.OK
        self.reply(status, data, {"Accept-Ranges": "bytes", "ETag": f'"{found["name"]}"', "X-Repo-Commit": COMMIT, **about})

    def reply_json(self, value: object) -> None:
        """A document."""
        self.reply(HTTPStatus.OK, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def reply(self, status: HTTPStatus, body: bytes, headers: dict[str, str]) -> None:
        """The status, the headers, and the body unless only the head is asked for."""
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


def main(folder: Path, ids: list[str]) -> None:
    """Write, say where, serve."""
    for model_id in ids:
        write(folder, model_id)
    with Hub(folder) as server:
        print(server.server_port, flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
