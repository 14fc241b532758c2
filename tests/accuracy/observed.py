"""Stored observations asked again as questions: the same model, release, device, settings and lengths."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ullage import wire
from ullage.architectures import read
from ullage.domain.case import Case, Model
from ullage.domain.hyperparameters import Hyperparameters, Json
from ullage.domain.ledger import Amount, Ledger, Phase, Purpose
from ullage.domain.machine import Device, Machine
from ullage.domain.observation import Counting, Observation
from ullage.engines import find
from ullage.engines.transformers.versions import version
from ullage.formats import checkpoint

FOLDER = Path(__file__).parents[1] / "data" / "observations"
UNCOUNTED = frozenset({Purpose.RUNTIME, Purpose.OTHERS})  # on the device, but not in PyTorch's count


@dataclass(frozen=True)
class Replayed:
    """One phase of an observation: the bytes that were alive at its peak beside weights and buffers, and those promised."""

    name: str
    attention: str
    is_mixture: bool
    phase: Phase
    weights: int
    seen: int
    promised: Amount

    @property
    def error(self) -> float:
        """Of what lies beside the weights, relative, below nought where too little was promised."""
        return self.promised.expected / self.seen - 1

    @property
    def whole_error(self) -> float:
        """Of the device's whole peak, relative, without sign."""
        return abs(self.promised.expected - self.seen) / (self.weights + self.seen)

    @property
    def is_covered(self) -> bool:
        """Whether what was seen lies in the promised range."""
        return self.promised.low <= self.seen <= self.promised.high


@cache
def observations() -> tuple[Observation, ...]:
    """Every stored observation that counts tensors."""
    found = (wire.from_wire(Observation, wire.loads(path.read_bytes())) for path in sorted(FOLDER.glob("*.json")))
    return tuple(one for one in found if one.counting is not Counting.PROCESSES)


def question(observation: Observation) -> Case:
    """What was run, as a case with every default said."""
    run, site = observation.run, observation.site
    device = Device(
        id="device0", kind=site.kind, name=site.device, total_bytes=site.total_bytes, compute_capability=site.compute_capability
    )
    case = Case(
        model=_model(run.configuration),
        engine=run.engine,
        version=version(run.version),
        machine=Machine(devices=(device,)),
        workload=run.workload,
        settings=run.settings,
    )
    return find(run.engine).resolve(case)


def ledger(observation: Observation) -> Ledger:
    """What is promised for it."""
    return find(observation.run.engine).ledger(question(observation))


def _model(configuration: Json) -> Model:
    assert isinstance(configuration, dict)
    blueprint = read(Hyperparameters(configuration))
    parameters = sum(tensor.elements for tensor in blueprint.tensors)
    return Model(
        name="observed",
        source="observation",
        architecture=blueprint.architecture,
        checkpoint=checkpoint(blueprint, None),
        parameters=parameters,
    )


def replayed(observation: Observation) -> tuple[Replayed, ...]:
    """Prompt and answer of one observation beside what is promised."""
    promised, resident = ledger(observation), observation.at(Phase.RESIDENT)
    assert resident is not None
    held = tuple(entry for entry in promised.entries if entry.purpose not in UNCOUNTED and entry.purpose is not Purpose.WEIGHTS)
    beside = Ledger(entries=held)
    weights = resident.of(Purpose.WEIGHTS) + resident.of(Purpose.BUFFERS)
    return tuple(
        Replayed(
            name=observation.name,
            attention=observation.run.settings.text("attn_implementation") or "",
            is_mixture=question(observation).model.architecture.is_mixture,
            phase=phase,
            weights=weights,
            seen=reading.peak_allocated_bytes - weights,
            promised=beside.at("device0", phase),
        )
        for phase in (Phase.PREFILL, Phase.DECODE)
        if (reading := observation.at(phase)) is not None
    )


def promised_cache(observation: Observation, phase: Phase) -> int:
    """Bytes of the cache promised at the end of a phase."""
    alive = {Phase.RESIDENT, phase}
    return sum(e.amount.expected for e in ledger(observation).entries if e.purpose is Purpose.KV_CACHE and e.phase in alive)
