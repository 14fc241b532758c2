"""Questions for tests: a bundled model on devices said in one line."""

from functools import cache
from typing import Any

from ullage import formats, wire
from ullage.architectures import read
from ullage.catalog import models
from ullage.domain.case import Case, Model, Settings, Value, Version
from ullage.domain.hyperparameters import Hyperparameters
from ullage.domain.machine import Device, Machine
from ullage.domain.placement import Parallel
from ullage.domain.workload import Workload
from ullage.engines.vllm.resolve import resolve
from ullage.units import GiB

GPU_80 = ("NVIDIA H800 80GB", 79.1, (9, 0))
RTX_3090 = ("NVIDIA GeForce RTX 3090", 23.69, (8, 6))
A100 = ("NVIDIA A100", 79.15, (8, 0))


@cache
def bundled(name: str) -> Model:
    """A bundled model in its own dtype or scheme."""
    found = models.lookup(name)
    assert found is not None, name
    config = Hyperparameters(wire.loads(models.configuration(found)))
    blueprint = read(config)
    return Model(
        name=name,
        source="bundled",
        architecture=blueprint.architecture,
        checkpoint=formats.checkpoint(blueprint, None),
        parameters=blueprint.parameters,
    )


def machine(card: tuple[str, float, tuple[int, int]], count: int, total_gib: float | None = None) -> Machine:
    """``count`` cards alike."""
    name, gib, capability = card
    size = int((total_gib or gib) * GiB)
    return Machine(
        devices=tuple(Device(id=f"gpu{i}", kind="cuda", name=name, total_bytes=size, compute_capability=capability) for i in range(count))
    )


def raw_vllm_case(  # noqa: PLR0913 - a question has this many parts
    name: str,
    version: str,
    card: tuple[str, float, tuple[int, int]] = A100,
    *,
    total_gib: float | None = None,
    devices: int = 1,
    tensor: int = 1,
    pipeline: int = 1,
    context: int | None = None,
    environment: tuple[tuple[str, str], ...] = (),
    **settings: Value,
) -> Case:
    """A case for vLLM as it is asked, nothing resolved."""
    return Case(
        model=bundled(name),
        engine="vllm",
        version=Version(tuple(int(part) for part in version.split(".")), version),
        machine=machine(card, devices, total_gib),
        parallel=Parallel(tensor=tensor, pipeline=pipeline),
        workload=Workload(context_tokens=context),
        settings=Settings.of(settings),
        environment=environment,
    )


def vllm_case(*words: Any, **said: Any) -> Case:
    """A resolved case for vLLM; the arguments are those of ``raw_vllm_case``."""
    return resolve(raw_vllm_case(*words, **said))
