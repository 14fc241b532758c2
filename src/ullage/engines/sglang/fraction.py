"""Defaults by release, memory and ranks: chunk, captured batch, and the share of memory for weights and cache."""

from ullage.catalog import devices as catalogue
from ullage.domain.architecture import Architecture, LatentAttention
from ullage.domain.case import Case
from ullage.domain.checkpoint import Role
from ullage.domain.machine import Device
from ullage.engines.sglang.versions import TEXT_BY_DEFAULT, Release, Reserve, Tower, rules_for
from ullage.frozen import dataclass
from ullage.units import MiB

_GRAPHED_TOKENS = (*range(4, 33, 4), *range(48, 257, 16), *range(288, 513, 32), *range(576, 1025, 64), *range(1280, 4097, 256))
_SAME_CARD = 0.06  # a device this close to a card of its name is that card


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Chunk and captured batch for cards below ``below_mib``; ``wide`` is the batch from four tensor-parallel ranks on."""

    below_mib: int
    chunk: int
    batch: int
    wide: int


_LARGEST = 1 << 40
_SMALLEST = Size(below_mib=20 * 1024, chunk=2048, batch=8, wide=8)
_ROOMIER = (
    Size(below_mib=60 * 1024, chunk=4096, batch=32, wide=160),
    Size(below_mib=160 * 1024, chunk=8192, batch=256, wide=512),
    Size(below_mib=_LARGEST, chunk=16384, batch=512, wide=512),
)
_TABLES: tuple[tuple[Release, tuple[Size, ...]], ...] = (
    ((0, 5, 20), (_SMALLEST, Size(below_mib=35 * 1024, chunk=4096, batch=48, wide=160), *_ROOMIER)),
    ((0, 5, 5), (_SMALLEST, Size(below_mib=35 * 1024, chunk=2048, batch=24, wide=80), *_ROOMIER)),
    ((0, 5, 3), (_SMALLEST, Size(below_mib=35 * 1024, chunk=2048, batch=16, wide=80), *_ROOMIER)),
    (
        (0, 4, 8),
        (
            Size(below_mib=35 * 1024, chunk=2048, batch=8, wide=80),
            Size(below_mib=96 * 1024, chunk=8192, batch=160, wide=160),
            Size(below_mib=160 * 1024, chunk=8192, batch=256, wide=256),
            Size(below_mib=_LARGEST, chunk=16384, batch=512, wide=512),
        ),
    ),
    (
        (0, 4, 5),
        (
            Size(below_mib=25_000, chunk=2048, batch=8, wide=80),
            Size(below_mib=96 * 1024, chunk=8192, batch=160, wide=160),
            Size(below_mib=_LARGEST, chunk=8192, batch=256, wide=256),
        ),
    ),
    ((0, 4, 3), (Size(below_mib=25_000, chunk=2048, batch=8, wide=80), Size(below_mib=_LARGEST, chunk=8192, batch=160, wide=160))),
    ((0,), (Size(below_mib=25_000, chunk=2048, batch=8, wide=8), Size(below_mib=_LARGEST, chunk=8192, batch=160, wide=160))),
)
_BY_RANKS = ((16, 0.79), (8, 0.81), (4, 0.85), (2, 0.87), (0, 0.88))
_WIDE_RANKS = 4
_ROOMY_MIB = 60 * 1024
_MANY_SEQUENCES = 300


def card_mib(device: Device) -> float:
    """What the management tool prints for the card, which is what SGLang sizes itself by; more than the compute library reports."""
    known = catalogue.lookup(device.name)
    if known is not None and abs(known.reported_bytes - device.total_bytes) <= _SAME_CARD * device.total_bytes:
        return max(known.high_bytes, device.total_bytes) / MiB
    return device.total_bytes / MiB


def size_of(at: Release, mib: float) -> Size:
    """The row of the release's table for a card."""
    table = next(rows for since, rows in _TABLES if at >= since)
    return next(row for row in table if mib < row.below_mib)


def captured_batch(at: Release, mib: float, tensor: int) -> int:
    """The largest batch of a CUDA graph when nobody said one."""
    row = size_of(at, mib)
    return row.wide if tensor >= _WIDE_RANKS else row.batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What the default of the fraction depends on beside the release."""

    mib: float
    ranks: int  # tensor x pipeline
    tensor: int
    chunk: int  # tokens of a prefill step; chunked prefill off: max_prefill_tokens
    batch: int  # largest captured batch
    data_attention: int  # ranks of data-parallel attention, 0 without
    algorithm: str | None
    graphs: bool
    prompt_graphs: bool  # prompts are captured as well
    latent: bool
    deepep: bool


def default_fraction(at: Release, work: Work) -> float:
    """``mem_fraction_static`` of a text model when nobody said one."""
    rule = rules_for(at)
    if rule.reserve is Reserve.BY_RANKS:
        return _by(work.tensor)
    if rule.reserve is Reserve.BY_RANKS_AND_SIZE:
        return _by_ranks_and_size(at, work)
    reserved = _reserved_by_size(at, work) if rule.reserve is Reserve.BY_SIZE else _reserved_by_work(at, work)
    return round((work.mib - reserved) / work.mib, 3)


def _by(ranks: int) -> float:
    return next(fraction for least, fraction in _BY_RANKS if ranks >= least)


def _by_ranks_and_size(at: Release, work: Work) -> float:
    fraction = _by(work.ranks) if work.mib <= 80 * 1024 else 0.88
    if at >= (0, 4, 7) and work.mib > 180_000:  # noqa: PLR2004 - the release's own boundary
        return 0.79
    if work.mib > 96 * 1024:
        reserve = 20 * 1024 if work.algorithm and at >= (0, 4, 7) else 18 * 1024
        return min(fraction + 48 * 1024 * (1 - fraction) / work.mib, (work.mib - reserve) / work.mib)
    return fraction * 0.95 if work.algorithm and at >= (0, 4, 7) else fraction


def _reserved_by_size(at: Release, work: Work) -> float:
    if work.mib < 35 * 1024:
        reserved = 2.8 + work.ranks / 10
    elif work.mib < 90 * 1024:
        reserved = 9.5 + work.ranks / 2
    else:
        reserved = 12 + work.ranks / 2 if work.mib < 160 * 1024 else 32
    return reserved * 1024 + _spec_mib(at, work) + (4096 if work.data_attention else 0)


def _reserved_by_work(at: Release, work: Work) -> float:
    rule = rules_for(at)
    reserved = 512 + 1.5 * max(work.chunk, 2048) + work.ranks / 8 * 1024
    if work.graphs or at < (0, 5, 16):
        reserved += 2 * work.batch
    if work.data_attention:
        reserved += 3 * work.batch * work.data_attention
        reserved += 1.5 * work.batch * work.data_attention if work.batch > _MANY_SEQUENCES else 0
    if work.prompt_graphs:
        reserved += rule.latent_prefill_graphs_mib if work.latent else 8 * graphed_prompts(work.chunk)
    if work.mib > _ROOMY_MIB:
        reserved = max(reserved, 10 * 1024)
    return reserved + _spec_mib(at, work) + (2048 if work.deepep and at >= (0, 5, 16) else 0)


def _spec_mib(at: Release, work: Work) -> int:
    rule = rules_for(at)
    match work.algorithm:
        case None | "NGRAM":
            return 0
        case "STANDALONE":
            return rule.standalone_reserve_mib
        case _:
            return rule.spec_reserve_mib


def graphed_prompts(most: int) -> int:
    """How many prompt lengths are captured up to ``most`` tokens."""
    return sum(1 for tokens in (*_GRAPHED_TOKENS, *range(4608, most + 1, 512)) if tokens <= most)


def is_multimodal(case: Case) -> bool:
    """Whether the release serves images or audio with this model: some families only when asked to."""
    architecture = case.model.architecture
    if not architecture.encoder_tokens or case.settings.flag("language_only"):
        return False
    asked = case.settings.flag("enable_multimodal")
    return asked if asked is not None else not (architecture.class_name in TEXT_BY_DEFAULT and case.version.parts >= (0, 4, 6))


def tower_factor(case: Case, *, stated: bool) -> float:
    """By what a vision model lowers the fraction; 1 for a text model."""
    rule = rules_for(case.version.parts)
    if not is_multimodal(case) or (stated and rule.tower is not Tower.ALWAYS):
        return 1.0
    factor = rule.tower_percent / 100
    return factor if rule.tower is not Tower.COMPLEXITY else factor * max(0.8, min(1.05, 1 - 0.1 * (_complexity(case) - 1)))


def _complexity(case: Case) -> float:
    """The tower's layers x width^2 over those of a ViT-L; towers whose configuration counts blocks by another name count as 24."""
    tower = [tensor for tensor in case.model.checkpoint.tensors if tensor.role is Role.VISION]
    widths = [tensor.shape[0] for tensor in tower if len(tensor.shape) == 1 and "norm" in tensor.name]
    width = max(set(widths), key=widths.count) if widths else 1024
    numbers = {part for tensor in tower for part in tensor.name.split(".") if part.isdigit()}
    layers = len(numbers) if numbers and not any(".blocks." in tensor.name for tensor in tower) else 24
    return layers * width**2 / (24 * 1024**2)


def is_latent(architecture: Architecture) -> bool:
    """Whether attention runs on latents (MLA)."""
    return any(isinstance(mixer, LatentAttention) for layer in architecture.layers for mixer in layer.mixers)
