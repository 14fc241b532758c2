"""Questions about llama.cpp for tests: a bundled model as a GGUF mixture on devices said in one line."""

from functools import cache

from ullage import formats, wire
from ullage.architectures import read
from ullage.catalog import models
from ullage.domain.case import Case, Model, Settings, Value, Version
from ullage.domain.hyperparameters import Hyperparameters
from ullage.domain.machine import HOST, Device, Machine
from ullage.domain.placement import Parallel
from ullage.domain.workload import Workload
from ullage.engines.llama_cpp.fit import resolve
from ullage.units import GiB


@cache
def quantised(name: str, scheme: str | None) -> Model:
    """A bundled model in a GGUF mixture, by rule."""
    found = models.lookup(name)
    assert found is not None, name
    config = Hyperparameters(wire.loads(models.configuration(found)))
    blueprint = read(config)
    wanted = Hyperparameters(formats.named_scheme(scheme)) if scheme else formats.quantization_of(config)
    return Model(
        name=name,
        source="bundled",
        architecture=blueprint.architecture,
        checkpoint=formats.checkpoint(blueprint, wanted),
        parameters=blueprint.parameters,
        unquantised=formats.checkpoint(blueprint, None),
    )


def devices(*gib: float, kind: str = "cuda", host_gib: float = 64.0) -> Machine:
    """Accelerators of these sizes and a host."""
    host = Device(id=HOST, kind="cpu", name="host memory", total_bytes=int(host_gib * GiB))
    cards = tuple(Device(id=f"gpu{index}", kind=kind, name="card", total_bytes=int(size * GiB)) for index, size in enumerate(gib))
    return Machine(devices=cards, host=host)


def cpu(gib: float = 24.0) -> Machine:
    """A machine without accelerators."""
    host = Device(id=HOST, kind="cpu", name="host memory", total_bytes=int(gib * GiB))
    return Machine(
        devices=(Device(id="cpu", kind="cpu", name="CPU", total_bytes=int(gib * GiB), shares_memory_with=HOST),),
        host=host,
    )


def asked(
    name: str,
    scheme: str | None,
    machine: Machine,
    *,
    build: str = "11434",
    context: int | None = None,
    concurrency: int = 1,
    layout: Parallel | None = None,
    stated: frozenset[str] = frozenset(),
    **settings: Value,
) -> Case:
    """A case as a person asks it."""
    return Case(
        model=quantised(name, scheme),
        engine="llama_cpp",
        version=Version((int(build),), build),
        machine=machine,
        parallel=layout or Parallel(),
        workload=Workload(context_tokens=context, concurrent_sequences=concurrency),
        settings=Settings.of(settings),
        stated=stated,
    )


def settled(name: str, scheme: str | None, machine: Machine, **more: Value) -> Case:
    """The same with every default said."""
    return resolve(asked(name, scheme, machine, **more))  # type: ignore[arg-type]  # settings and the other parts share one name space
