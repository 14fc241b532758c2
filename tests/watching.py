"""Small worlds to watch: readings as values."""

from ullage.domain.facts import Fact
from ullage.domain.ledger import Amount
from ullage.domain.reading import DeviceReading, EngineReading, HostReading, Moment, ProcessMemory, ProcessUse
from ullage.planning.promise import DevicePromise, Part, Promise
from ullage.planning.watch import observe
from ullage.planning.watched import Point, Watched
from ullage.units import GiB, MiB

ENGINE_PID = 101


def facts(**values: float) -> tuple[Fact, ...]:
    return tuple(Fact(name=name, value=value) for name, value in values.items())


def card(device: str = "gpu0", used: int | None = 40 * GiB, held: int | None = 39 * GiB, total: int | None = 80 * GiB) -> DeviceReading:
    free = None if used is None or total is None else total - used
    uses = (ProcessUse(pid=ENGINE_PID, nbytes=held),)
    return DeviceReading(
        device=device, kind="cuda", name="card", at=0.0, total_bytes=total, used_bytes=used, free_bytes=free, processes=uses
    )


def host(**values: object) -> HostReading:
    process = ProcessMemory(pid=ENGINE_PID, parent=1, name="engine", anon_bytes=GiB, file_bytes=MiB, shmem_bytes=0, pss_bytes=GiB)
    given = {"total_bytes": 64 * GiB, "available_bytes": 32 * GiB, "processes": (process,), **values}
    return HostReading(at=0.0, **given)  # type: ignore[arg-type]


def promise(device: str = "gpu0", *, peak: int = 39 * GiB, weights: int = 16 * GiB, tokens: int = 100_000) -> Promise:
    parts = (
        (Part.WEIGHTS, Amount.exactly(weights)),
        (Part.CACHE, Amount.exactly(20 * GiB)),
        (Part.REST, Amount(2 * GiB, 3 * GiB, 4 * GiB)),
    )
    bounds = Amount(peak - GiB, peak, peak + GiB)
    on = DevicePromise(device=device, name="card", total_bytes=80 * GiB, peak=bounds, parts=parts)
    return Promise(engine="vllm", version="0.33.0", model="m", devices=(on,), kv_tokens=Amount.exactly(tokens))


def engine(at: float = 0.0, *, healthy: bool | None = True, **values: float) -> EngineReading:
    return EngineReading(at=at, url="http://127.0.0.1:8000", engine="vllm", healthy=healthy, facts=facts(**values))


def looks(moments: list[Moment], held_to: Promise | None = None, longest: int = 720) -> Watched:
    """The last of many looks, each with the history of those before it."""
    history: tuple[Point, ...] = ()
    for moment in moments:
        seen = observe(held_to, moment, history, longest=longest)
        history = seen.history
    return seen


def usage_over_time(values: list[float], seconds: float = 10.0, **more: float) -> list[Moment]:
    """A pool that fills as the values say."""
    return [Moment(at=index * seconds, engine=engine(kv_cache_usage=value, **more)) for index, value in enumerate(values)]
