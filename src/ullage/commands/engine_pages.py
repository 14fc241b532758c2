"""What a running engine says of itself: its health, its model and its metrics, over HTTP, and its log where one is given."""

import re
from collections.abc import Callable

from ullage import engines, wire
from ullage.commands.verb import Option
from ullage.domain.facts import Fact
from ullage.domain.guard import WAITING
from ullage.domain.hyperparameters import Json
from ullage.domain.reading import EngineReading, Page
from ullage.errors import InputError, MalformedFileError
from ullage.ports import Meters

_OK, _LOCKED = 200, frozenset({401, 403})
_NO_PAGE = frozenset({404, 405, 501})
_ADDRESS = re.compile(r"(?P<scheme>https?)://(?P<user>[^/@]*@)?(?P<rest>[^\s?#]+)")
API_KEY = Option(
    "api_key_file", "text", "A file with the key that the engine asks for; else the variable ULLAGE_API_KEY.", "FILE", panel="Engine"
)
_QUEUED = re.compile(rf"^{WAITING} (\d+)$", re.MULTILINE)
_STARTED = ("weights_bytes", "kv_bytes", "kv_tokens")  # what a log says once, when the engine starts


def base_of(url: str) -> str:
    """The address that pages are below. Raises InputError."""
    text = url.strip() if "://" in url else f"http://{url.strip()}"
    if _ADDRESS.fullmatch(text) is None:
        raise InputError(f"{shown(text)[:80]!r} is no address of an engine: write http://127.0.0.1:8000")
    return re.sub(r"/(v1|metrics)?/*$", "", text)


def check_webhook(url: str) -> str:
    """The address that alarms are posted to. Raises InputError, without what may be secret in it."""
    if _ADDRESS.fullmatch(url.partition("?")[0]) is None:
        raise InputError("--webhook is no address: write https://HOST/PATH")
    return url


def shown(url: str) -> str:
    """An address as people may see it: without a user and a password."""
    return re.sub(r"//[^/@]*@", "//", url)


def read_engine(meters: Meters, base: str, at: float, named: str | None, before: EngineReading | None, key_file: str = "") -> EngineReading:
    """The engine now. Its model is asked for until it has been told once; the engine is recognised by its metrics' names."""
    asked = ("/health", "/metrics", *(() if before is not None and before.model is not None else ("/v1/models",)))
    pages = {path: meters.page(f"{base}{path}", key_file) for path in asked}
    health, metrics = pages["/health"], pages["/metrics"]
    engine, facts, queued = named, None, None
    if metrics is not None and metrics.status == _OK:
        engine, facts = _facts(metrics.text, named)
        queued = _queued(metrics.text)
    model, longest = (before.model, before.max_context_tokens) if before is not None else (None, None)
    if model is None:
        model, longest = _model(pages["/v1/models"])
    locked = tuple(f"{path} {page.status}" for path, page in pages.items() if page is not None and page.status in _LOCKED)
    is_engine = bool(facts or queued is not None or model or locked or health is None or _is_page(health))
    return EngineReading(
        at=at,
        url=shown(base),
        engine=engine or (before.engine if before is not None else None),
        healthy=_health(health) if is_engine else False,
        model=model,
        max_context_tokens=longest,
        facts=facts,
        queued=queued,
        is_engine=is_engine,
        answers=tuple(f"{path} {_said(page)}" for path, page in pages.items() if page is not None),
        locked=locked,
    )


def _queued(page: str) -> int | None:
    """The requests that wait in a guard which shows its engine's metrics below its own; None where there is no guard."""
    said = _QUEUED.search(page)
    return int(said[1]) if said is not None else None


def _facts(page: str, named: str | None) -> tuple[str | None, tuple[Fact, ...]]:
    """The facts of a metrics page and whose they are: of the engine that was named, or else of the one that reads the most out of it."""
    told = engines.find(named).read_metrics(page) if named is not None else ()
    if told:
        return named, told
    found = {name: engine.read_metrics(page) for name, engine in engines.engines().items()}
    name = max(found, key=lambda one: len(found[one]))
    return (name, found[name]) if found[name] else (named, ())


def _health(health: Page | None) -> bool | None:
    """What the page of health says; None where there is none, or it is shown to those with a key alone."""
    if health is None:
        return False
    return health.status == _OK if _is_page(health) and health.status not in _LOCKED else None


def _is_page(page: Page) -> bool:
    """Whether an engine may have answered: with more than that there is nothing, and not with a page for people as web servers do."""
    return page.status not in _NO_PAGE and not _is_for_people(page)


def _is_for_people(page: Page) -> bool:
    return page.text.lstrip()[:1] == "<"


def _said(page: Page) -> str:
    return f"{page.status}{', a page for people' if _is_for_people(page) else ''}"


def _model(page: Page | None) -> tuple[str | None, int | None]:
    values = _values(page)
    listed = values.get("data")
    first = listed[0] if isinstance(listed, list) and listed else None
    if not isinstance(first, dict):
        return None, None
    name, longest = first.get("id"), first.get("max_model_len")
    return (name if isinstance(name, str) else None), (longest if isinstance(longest, int) else None)


def _values(page: Page | None) -> dict[str, Json]:
    if page is None or page.status != _OK:
        return {}
    try:
        values = wire.loads(page.text)
    except MalformedFileError:
        return {}
    return values if isinstance(values, dict) else {}


def started_facts(log: str, read_line: Callable[[str], Fact | None]) -> tuple[Fact, ...]:
    """What an engine's log says of its start: the last of each statement and rank."""
    found = {}
    for line in log.splitlines():
        fact = read_line(line)
        if fact is not None and fact.name in _STARTED:
            found[fact.name, dict(fact.details).get("rank")] = fact
    return tuple(found.values())
