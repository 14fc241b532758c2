"""Questions about IPEX-LLM: a bundled model packed by rule, on Arc cards as their driver reports them."""

from functools import cache

from tests.cases import bundled
from ullage import formats
from ullage.domain.case import Case, Model, Settings, Value, Version
from ullage.domain.family import Blueprint
from ullage.domain.hyperparameters import Hyperparameters
from ullage.domain.machine import Device, Machine
from ullage.domain.placement import Parallel
from ullage.domain.workload import Workload
from ullage.engines.ipex_llm import ENGINE
from ullage.planning.fit import Outcome, evaluate
from ullage.units import GiB

A770_GIB = 15.11


@cache
def packed_model(name: str, word: str | None) -> Model:
    """A bundled model, its weights in the format of a ``--quant`` word."""
    plain = bundled(name)
    if word is None:
        return plain
    blueprint = Blueprint(architecture=plain.architecture, tensors=plain.checkpoint.tensors)
    return Model(
        name=name,
        source="bundled",
        architecture=plain.architecture,
        checkpoint=formats.checkpoint(blueprint, Hyperparameters(formats.named_scheme(word))),
        parameters=plain.parameters,
        unquantised=plain.checkpoint,
    )


def arc_case(  # noqa: PLR0913 - a question has this many parts
    name: str,
    word: str | None,
    version: str,
    *,
    cards: int = 1,
    kind: str = "xpu",
    total_gib: float = A770_GIB,
    workload: Workload | None = None,
    environment: tuple[tuple[str, str], ...] = (),
    host_gib: int | None = None,
    **settings: Value,
) -> Case:
    """A case as a person asks it; ``cards`` are one tensor-parallel group of the fork."""
    card = "Intel Arc A770" if kind == "xpu" else "CPU"
    devices = tuple(Device(id=f"gpu{i}", kind=kind, name=card, total_bytes=int(total_gib * GiB)) for i in range(cards))
    host = Device(id="host", kind="cpu", name="host", total_bytes=host_gib * GiB) if host_gib else None
    parts = tuple(int(part) for part in version.partition("b")[0].split("."))
    return Case(
        model=packed_model(name, word),
        engine="ipex_llm",
        version=Version(parts, version),
        machine=Machine(devices=devices, host=host),
        parallel=Parallel(tensor=cards),
        workload=workload or Workload(),
        settings=Settings.of(settings),
        environment=environment,
        stated=frozenset(settings),
    )


def outcome(case: Case) -> Outcome:
    """What follows from a case."""
    return evaluate(ENGINE, case)
