"""A page of metrics served over HTTP, for Prometheus to fetch."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET6, SOCK_STREAM, getaddrinfo
from threading import Thread

from ullage.errors import InputError, WorldError

_LOOPBACK = "127.0.0.1"
_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_HIGHEST_PORT = 65535


class Exporter:
    """Serves the text it was last given at ``/metrics`` until the program ends."""

    def __init__(self, address: str) -> None:
        host, port = read_address(address)
        self.text = ""
        try:
            family = getaddrinfo(host, port, type=SOCK_STREAM)[0][0]
            kind = type("_Server", (_Server,), {"address_family": family})
            self._server = kind((host, port), _Handler)
        except OSError as error:
            raise WorldError(f"--prometheus {address} cannot be listened on: {error.strerror or error}; choose another port") from error
        self._server.exporter = self
        shown = f"[{host}]" if family == AF_INET6 else host
        self.url = f"http://{shown}:{self._server.server_address[1]}/metrics"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


def read_address(address: str) -> tuple[str, int]:
    """``[HOST:]PORT``; this machine alone where no host is said. Raises InputError."""
    host, _, port = address.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) <= _HIGHEST_PORT):
        raise InputError(f"--prometheus {address[:60]}: write a port, --prometheus 9410, or a host and a port, --prometheus 0.0.0.0:9410")
    return host.strip("[]") or _LOOPBACK, int(port)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    exporter: Exporter


class _Handler(BaseHTTPRequestHandler):
    timeout = 10
    server: _Server

    def do_GET(self) -> None:
        """The metrics, and nothing else."""
        found = self.path.split("?", 1)[0] == "/metrics"
        body = (self.server.exporter.text if found else "the metrics are at /metrics\n").encode()
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", _TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_words: object) -> None:
        """Every fetch is no news."""
