"""What lies on each device of a case: its run of layers, and beside them the table, the head, and room for experts of the host."""

from functools import lru_cache

from ullage.domain.architecture import Architecture, ExpertFeedForward
from ullage.domain.case import Case
from ullage.domain.machine import Device
from ullage.engines.runtime.placement import part, spans_of
from ullage.engines.runtime.settings import split_of
from ullage.engines.runtime.sizing import default_memory
from ullage.engines.runtime.weights import Resident
from ullage.errors import InputError
from ullage.formulas.placement import Span, proportional
from ullage.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One device's part of the weights, in bytes. ``experts`` lie on the host; ``staging`` is the room for those in use."""

    index: int
    span: Span
    first: bool
    last: bool
    table: int
    layers: int
    end: int  # norm and head
    scratch: int
    experts: int
    staging: int

    @property
    def nbytes(self) -> int:
        """What stays on the device."""
        return self.table + self.layers + self.end


@lru_cache(maxsize=256)
def shares_of(architecture: Architecture, found: Resident, spans: tuple[Span, ...], host_experts: int | None) -> tuple[Share, ...]:
    """Device by device."""
    shares = []
    for index, (first, end) in enumerate(spans):
        last = index == len(spans) - 1
        experts = sum(found.experts[first:end]) if host_experts else 0
        counts = [
            layer.feed_forward.experts for layer in architecture.layers[first:end] if isinstance(layer.feed_forward, ExpertFeedForward)
        ]
        shares.append(
            Share(
                index=index,
                span=(first, end),
                first=index == 0,
                last=last,
                table=found.table if index == 0 else 0,
                layers=sum(found.layers[first:end]) - experts,
                end=found.norm + found.head if last else 0,
                scratch=max((*found.scratches[first:end], found.head_scratch if last else 0), default=0),
                experts=experts,
                staging=min(host_experts or 0, sum(counts)) * max(found.expert[first:end], default=0),
            )
        )
    return tuple(shares)


def case_spans(case: Case) -> tuple[Span, ...]:
    """Of a resolved case; as even as can be where what was said cannot be, which is objected to."""
    layers, devices = len(case.model.architecture.layers), max(1, len(case.devices))
    said = case.settings.text("split")
    try:
        return spans_of(split_of(said) if said else (layers,), layers, devices)
    except InputError:
        return spans_of(proportional(layers, (1,) * devices), layers, devices)


def seen_by(case: Case, architecture: Architecture, share: Share) -> Architecture:
    """The model as the device sees it."""
    return architecture if len(case.devices) < 2 else part(architecture, share.span)  # noqa: PLR2004 - several


def memory_of(case: Case, device: Device) -> int:
    """Bytes the process may take on a device: as said, else a part of what is there."""
    said = case.settings.integer("memory")
    if said is not None and ("memory" in case.stated or len(case.devices) < 2):  # noqa: PLR2004 - several
        return said
    return default_memory(device.total_bytes - device.reserved_bytes)
