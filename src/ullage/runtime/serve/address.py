"""Whether an address can be listened on, which is tried before a model is loaded for it."""

import errno
import socket

from ullage.errors import WorldError


def try_address(host: str, port: int) -> None:
    """Raises WorldError where somebody listens there, or where the machine has none of the addresses that the name stands for."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise refusal_of(host, port, error) from error
    failures: list[OSError] = []
    for family, kind, protocol, _, address in found:
        try:
            with socket.socket(family, kind, protocol) as tried:
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                tried.bind(address)
        except OSError as error:
            failures.append(error)
    taken = [error for error in failures if error.errno == errno.EADDRINUSE]
    if taken or len(failures) == len(found):
        first = (taken or failures)[0]
        raise refusal_of(host, port, first) from first


def refusal_of(host: str, port: int, error: OSError) -> WorldError:
    """What is said of an address that cannot be listened on."""
    return WorldError(f"{host}:{port} cannot be listened on: {error.strerror or error}; give another --port")
