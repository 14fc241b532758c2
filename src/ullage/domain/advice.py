"""What else could be done: other formats, other cards, other models, other engines, each planned in full and set side by side."""

from enum import StrEnum

from ullage.domain.case import Value
from ullage.domain.placement import Parallel
from ullage.domain.plan import Verdict
from ullage.frozen import dataclass


class CostClass(StrEnum):
    """What a format costs besides memory, in words."""

    NONE = "none"
    SMALL_QUALITY = "small quality"
    SPEED = "speed"
    QUALITY = "quality"

    @property
    def rank(self) -> int:
        """0 for what costs least."""
        return list(CostClass).index(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightChoice:
    """The weights in one scheme. ``freed_bytes`` is against the model as it is planned now; below nought it takes more.

    ``cache_bytes_per_token`` is what the engine then keeps of one token: the same as before, as only weights have changed.
    """

    word: str  # what to write after --quant; empty for the model as it is
    scheme: str
    weight_bytes: int
    freed_bytes: int
    device_freed_bytes: int  # on the device that holds most weights
    cost: CostClass
    cache_bytes_per_token: int
    changes_cache: bool
    verdict: Verdict
    max_context_tokens: int
    changes: tuple[tuple[str, Value], ...]  # free settings that it needs to fit
    is_widest: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheChoice:
    """Keys and values in one format, the weights as they are."""

    setting: str
    value: str
    bytes_per_token: int
    freed_bytes: int  # of what the asked sequences keep, over all devices
    cost: str
    verdict: Verdict
    kv_tokens: int
    max_context_tokens: int
    is_widest: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One part of the model or its cache. ``bits`` a stored number, scales counted; None where packed files do not tell."""

    name: str
    nbytes: int
    bits: float | None
    narrower: str  # the next step, in words; empty where there is none
    frees_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatAdvice:
    """Formats of weights and of the cache, kept apart, and the parts of the model."""

    context_tokens: int
    weights: tuple[WeightChoice, ...]
    cache: tuple[CacheChoice, ...]
    components: tuple[Component, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CardChoice:
    """The smallest count of a card that fits. ``names`` are cards alike in kind, generation and size."""

    names: tuple[str, ...]
    count: int
    total_nominal_gb: int
    parallel: Parallel
    room_bytes: int  # left on the fullest device at the high end
    max_context_tokens: int
    max_sequences: int
    changes: tuple[tuple[str, Value], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareAdvice:
    """Cards for the asked length and number of sequences; ``too_small`` are those of which the largest count does not do."""

    context_tokens: int
    concurrent_sequences: int
    cards: tuple[CardChoice, ...]
    largest_count: int
    too_small: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChoice:
    """Another model that fits with the same settings."""

    name: str
    parameters: int
    weight_bytes: int
    kv_bytes_per_token: int
    is_related: bool  # of the same family or organisation
    verdict: Verdict
    max_context_tokens: int
    max_sequences: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAdvice:
    """Models beside the one asked for: its relatives that keep less a token, then the largest that fit."""

    context_tokens: int
    concurrent_sequences: int
    scheme: str
    kv_bytes_per_token: int  # of the model asked for
    models: tuple[ModelChoice, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What was asked for; None for what was not."""

    formats: FormatAdvice | None = None
    hardware: HardwareAdvice | None = None
    models: ModelAdvice | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One engine, scheme and layout, planned."""

    engine: str
    version: str
    word: str  # what to write after --quant; empty for the model as it is
    scheme: str
    cost: CostClass
    parallel: Parallel
    verdict: Verdict
    weight_bytes: int
    kv_bytes_per_token: int
    max_context_tokens: int
    max_sequences: int
    room_bytes: int
    changes: tuple[tuple[str, Value], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NotPossible:
    """An engine, or one of its schemes, that cannot run here, and why."""

    engine: str
    version: str
    scheme: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Candidates, the best first, and what is not possible."""

    context_tokens: int | None
    concurrent_sequences: int
    objective: str
    candidates: tuple[Candidate, ...]
    refused: tuple[NotPossible, ...]
