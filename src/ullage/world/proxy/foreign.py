"""Pages of other sites, whose readers' browsers would ask a guard without keys for them."""

import ipaddress
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import urlsplit

_WEB = {"http", "https"}
_NAMED_HERE = (".localhost", ".local", ".internal")  # ends of names that no site on the internet has


def why_foreign(headers: Mapping[str, str], host: str) -> str:
    """Why a request is none of this machine's programs; empty where nothing says so. ``host`` is where the guard listens.

    A browser tells the page in Origin. A name that a page's owner points at this machine stands in Host, which is looked at where
    the guard listens for this machine alone; elsewhere callers may use whatever name the machine has.
    """
    return _judged(headers.get("Origin", ""), headers.get("Host", ""), host)


@lru_cache(maxsize=256)
def _judged(origin: str, asked: str, host: str) -> str:
    called = _name(f"//{asked}")
    if _is_loopback(host) and called and not _is_local(called):
        return f"It was sent to {called[:100]!r}, which is no name of this machine"
    scheme, _, _ = origin.partition("://")
    page = _name(origin)
    if origin == "null" or (scheme in _WEB and not (_is_loopback(page) or page == called)):
        return f"It comes from a page of {origin[:100]!r}"
    return ""


def _is_local(name: str) -> bool:
    """Whether a name can only mean this machine or its neighbours: an address, a name without a dot, or one kept for such use."""
    return "." not in name.rstrip(".") or name.rstrip(".").endswith(_NAMED_HERE) or _address(name) is not None


def _is_loopback(name: str) -> bool:
    found = _address(name)
    return name == "localhost" or name.endswith(".localhost") or (found is not None and found.is_loopback)


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _name(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return "?"
