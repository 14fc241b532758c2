"""Why what was promised may be of something else than what is watched: of another engine, another model, or other devices."""

from collections.abc import Iterable, Iterator

from ullage.domain.machine import HOST
from ullage.domain.reading import EngineReading, Moment
from ullage.planning.promise import Promise
from ullage.units import format_bytes

_SAME_SIZE = 0.03  # of a device; the rest is what drivers and firmware keep


def doubts(promise: Promise, moment: Moment, names: tuple[str, ...]) -> tuple[str, ...]:
    """One sentence each. ``names`` are the words that the model may be called by; without any its name is not looked at."""
    return (*(_of_engine(promise, moment.engine, names) if moment.engine is not None else ()), *_of_devices(promise, moment))


def _of_engine(promise: Promise, engine: EngineReading, names: tuple[str, ...]) -> Iterator[str]:
    what = "what is shown as promised is not of it; give the plan or the command of what runs there"
    if engine.engine is not None and engine.engine != promise.engine:
        yield f"the plan is of {promise.engine}, and {engine.engine} answers at {engine.url}: {what}"
    if names and engine.model is not None and not is_called(engine.model, promise.model, names):
        yield f"the plan is of {promise.model}, and {engine.model} is served at {engine.url}: if these are two models, {what}"


def is_called(model: str, planned: str, names: Iterable[str]) -> bool:
    """Whether this may be the planned model by the name an engine gives it: one of these names, or the same with a form behind it."""
    here, there = _short(model), _short(planned)
    shorter, longer = sorted((here, there), key=len)
    if longer.startswith(shorter) and not longer[len(shorter) :][:1].isalnum():
        return True
    return here in {_short(name.rpartition("=")[2]) for name in names}


def _short(name: str) -> str:
    """The last part of an id or a path, without a file's ending."""
    return name.rstrip("/").rpartition("/")[2].lower().removesuffix(".gguf")


def _of_devices(promise: Promise, moment: Moment) -> Iterator[str]:
    here = {reading.device: reading.total_bytes for reading in moment.devices}
    planned = [one for one in promise.devices if one.device != HOST]
    gone = [f"{one.device} ({one.name})" for one in planned if one.device not in here]
    if gone:
        yield f"the plan is for {' and '.join(gone)}, and no driver of this machine answers for that: what it holds is not seen"
    for one in planned:
        total = here.get(one.device)
        if total is not None and abs(total - one.total_bytes) > _SAME_SIZE * one.total_bytes:
            yield f"the plan is for {one.device} of {format_bytes(one.total_bytes)}, and this one has {format_bytes(total)}: plan for it"
