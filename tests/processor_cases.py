"""Questions for tests: vLLM on a processor, with bundled models and with shapes that real runs had."""

from typing import Any

from tests.cases import raw_vllm_case
from ullage.architectures import read
from ullage.domain.case import Case, Model
from ullage.domain.hyperparameters import Hyperparameters, Json
from ullage.domain.machine import HOST, Device, Machine
from ullage.domain.observation import Observation
from ullage.engines.vllm import ENGINE
from ullage.formats import checkpoint
from ullage.frozen import replace
from ullage.units import GiB


def on_processor(case: Case, total_gib: float = 24.0, reserved_gib: float = 0.0) -> Case:
    """The case on a processor with so much memory, of which others hold some."""
    host = Device(id=HOST, kind="cpu", name="host", total_bytes=int(total_gib * GiB), reserved_bytes=int(reserved_gib * GiB))
    return replace(case, machine=Machine(devices=(replace(host, id="cpu", shares_memory_with=HOST),), host=host))


def cpu_case(name: str, version: str = "0.32.0", *, memory: tuple[float, float] = (24.0, 0.0), **said: Any) -> Case:
    return ENGINE.resolve(on_processor(raw_vllm_case(name, version, **said), *memory))


def shaped_case(configuration: Json, version: str = "0.32.0", *, tiles: bool | None = None, **said: Any) -> Case:
    """A model of that shape on a processor of 23.54 GiB, which has AMX or has it not where that is said."""
    raw = on_processor(raw_vllm_case("Qwen3-0.6B", version, **said), 23.54)
    devices = tuple(replace(device, multiplies_tiles=tiles) for device in raw.machine.devices)
    return ENGINE.resolve(replace(raw, model=_model(configuration), machine=replace(raw.machine, devices=devices)))


def observed_case(observation: Observation) -> Case:
    """A stored run as a question."""
    run = observation.run
    raw = on_processor(raw_vllm_case("Qwen3-0.6B", run.version), observation.site.total_bytes / GiB)
    return ENGINE.resolve(replace(raw, model=_model(run.configuration), settings=run.settings, workload=run.workload))


def tokens(case: Case) -> int:
    """What the engine says that its cache holds."""
    return ENGINE.capacity(case, ENGINE.ledger(case)).kv_tokens.expected


def refusal(case: Case) -> str:
    """The sentences with which it does not start."""
    return " ".join(one.text for one in ENGINE.objections(case))


def _model(configuration: Json) -> Model:
    assert isinstance(configuration, dict)
    blueprint = read(Hyperparameters(configuration))
    parameters = sum(tensor.elements for tensor in blueprint.tensors)
    return Model(
        name="m", source="observation", architecture=blueprint.architecture, checkpoint=checkpoint(blueprint, None), parameters=parameters
    )
