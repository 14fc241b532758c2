"""Questions for tests of the ExLlama engines: a bundled shape in so many bits on cards alike."""

from functools import cache

from tests.cases import bundled
from ullage import formats
from ullage.domain.case import Case, Model, Settings, Value, Version
from ullage.domain.family import Blueprint
from ullage.domain.hyperparameters import Hyperparameters
from ullage.domain.ledger import Phase
from ullage.domain.machine import Device, Machine
from ullage.domain.placement import Parallel
from ullage.domain.workload import Workload
from ullage.engines import find
from ullage.planning.answer import answer
from ullage.units import MiB

RTX_4090_MIB = 24564


@cache
def quantised(name: str, scheme: str | None) -> Model:
    """A bundled model with a scheme applied by rule."""
    plain = bundled(name)
    if scheme is None:
        return plain
    blueprint = Blueprint(architecture=plain.architecture, tensors=plain.checkpoint.tensors)
    stored = formats.checkpoint(blueprint, Hyperparameters(formats.named_scheme(scheme)))
    return Model(
        name=name,
        source="bundled",
        architecture=plain.architecture,
        checkpoint=stored,
        parameters=plain.parameters,
        unquantised=plain.checkpoint,
    )


def cards(count: int, mib: int = RTX_4090_MIB, *, host: bool = False) -> Machine:
    """``count`` cards of so many MiB."""
    devices = tuple(
        Device(id=f"gpu{at}", kind="cuda", name="RTX 4090", total_bytes=mib * MiB, compute_capability=(8, 9)) for at in range(count)
    )
    return Machine(devices=devices, host=Device(id="host", kind="cpu", name="host memory", total_bytes=64 << 30) if host else None)


def exllama_case(  # noqa: PLR0913 - a question has this many parts
    engine: str,
    name: str,
    scheme: str | None,
    version: str,
    *,
    count: int = 3,
    mib: int = RTX_4090_MIB,
    context: int | None = None,
    concurrency: int = 1,
    host: bool = False,
    **settings: Value,
) -> Case:
    """A case as it is asked."""
    return Case(
        model=quantised(name, scheme),
        engine=engine,
        version=Version(tuple(int(part) for part in version.split(".")), version),
        machine=cards(count, mib, host=host),
        parallel=Parallel(pipeline=count),
        workload=Workload(context_tokens=context, concurrent_sequences=concurrency),
        settings=Settings.of(settings),
        stated=frozenset(settings),
    )


def loaded_mib(case: Case) -> list[float]:
    """What every card holds once the model is loaded."""
    plan = answer(find(case.engine), case, remedies=False)
    return [plan.ledger.at(device.id, Phase.RESIDENT).expected / MiB for device in case.machine.devices]
