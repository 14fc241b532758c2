"""What a running engine says of itself: its health, its model and its metrics, over HTTP, and its log where one is given."""

import re
from collections.abc import Callable

from ullage import engines, wire
from ullage.domain.facts import Fact
from ullage.domain.hyperparameters import Json
from ullage.domain.reading import EngineReading
from ullage.errors import InputError, MalformedFileError
from ullage.ports import Meters, Page

_OK, _NOT_FOUND = 200, 404
_ADDRESS = re.compile(r"(?P<scheme>https?)://(?P<user>[^/@]*@)?(?P<rest>[^\s?#]+)")
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


def read_engine(meters: Meters, base: str, at: float, named: str | None, before: EngineReading | None) -> EngineReading:
    """The engine now. Its model is asked for until it has been told once; the engine is recognised by its metrics' names."""
    health, metrics = meters.page(f"{base}/health"), meters.page(f"{base}/metrics")
    engine, facts = named, None
    if metrics is not None and metrics.status == _OK:
        engine, facts = _facts(metrics.text, named)
    model, longest = (before.model, before.max_context_tokens) if before is not None else (None, None)
    if model is None:
        model, longest = _model(meters.page(f"{base}/v1/models"))
    return EngineReading(
        at=at,
        url=shown(base),
        engine=engine or (before.engine if before is not None else None),
        healthy=_health(health, metrics),
        model=model,
        max_context_tokens=longest,
        facts=facts,
    )


def _facts(page: str, named: str | None) -> tuple[str | None, tuple[Fact, ...]]:
    """The facts of a metrics page and whose they are: of the engine that was named, or of the one that reads the most out of it."""
    if named is not None:
        return named, engines.find(named).read_metrics(page)
    found = {name: engine.read_metrics(page) for name, engine in engines.engines().items()}
    name = max(found, key=lambda one: len(found[one]))
    return (name, found[name]) if found[name] else (None, ())


def _health(health: Page | None, metrics: Page | None) -> bool | None:
    """A server without a page of health is judged by whether it answers at all."""
    if health is None:
        return False
    if health.status == _NOT_FOUND:
        return None if metrics is None else True
    return health.status == _OK


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
