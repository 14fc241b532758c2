"""Vision and audio towers in the start-up profile: how many items it tries, what the tower takes meanwhile, what stays alive after."""

import re
from collections import Counter
from functools import lru_cache
from math import prod

from ullage.domain.architecture import CrossAttention
from ullage.domain.case import Case, Model
from ullage.domain.checkpoint import Part, Role, Tensor
from ullage.domain.ledger import NOTHING, Amount
from ullage.engines.vllm.resolve import rules
from ullage.engines.vllm.versions import Core
from ullage.formulas.sharding import ceil_div
from ullage.frozen import dataclass

_LIMIT = re.compile(r"(image|video|audio)\W*[:=]\W*(\d+)")
_ATTENTION_WIDTHS = 6  # queries, keys and values as projected and as rotated, or the attention's output
_MATRIX, _FILTER = 2, 4  # dimensions of a matrix, and of what projects a patch of pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Tower:
    """Elements per patch: as read from pixels, while the widest block runs, and kept for the projector."""

    pixels: int
    block: int
    kept: int


@lru_cache(maxsize=256)
def tower_of(model: Model, tensor: int) -> Tower | None:
    """The tower's widths on one rank, from its tensors; None where the model has none."""
    weights = [t for t in model.checkpoint.tensors if t.role in {Role.VISION, Role.PROJECTOR} and t.part is Part.WEIGHT]
    filters = [t for t in weights if len(t.shape) >= _FILTER and t.role is Role.VISION]
    matrices = [t for t in weights if t.role is Role.VISION and len(t.shape) == _MATRIX]
    if not matrices:
        return None
    width = Counter(t.shape[1] for t in matrices).most_common(1)[0][0]
    pixels = prod(filters[0].shape[1:]) if filters else min(t.shape[1] for t in matrices)
    wide = max((_product(t, width, matrices) for t in matrices), default=2 * width)
    merged = max((t.shape[-1] for t in weights if t.role is Role.PROJECTOR and len(t.shape) == _MATRIX), default=width)
    return Tower(pixels=pixels, block=2 * width + max(ceil_div(wide, tensor), ceil_div(_ATTENTION_WIDTHS * width, tensor)), kept=merged)


def _product(matrix: Tensor, width: int, matrices: list[Tensor]) -> int:
    """What an MLP's up projection makes, with its activated copy; twice and once more where a gate stands beside it."""
    if matrix.shape[1] != width or matrix.shape[0] in {width, 3 * width}:
        return 0
    gated = any("gate" in other.name and other.shape == matrix.shape for other in matrices)
    return matrix.shape[0] * (3 if gated else 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What the profile puts through the tower: ``items`` of ``tokens`` each, made of ``patches``."""

    items: int
    tokens: int
    patches: int


def trial(case: Case) -> Trial | None:
    """The dummy items of this release; None where no tower is profiled."""
    architecture, settings = case.model.architecture, case.settings
    limits = {kind: int(count) for kind, count in _LIMIT.findall(settings.text("limit_mm_per_prompt") or "")}
    skipped = settings.flag("language_model_only") or settings.flag("skip_mm_profiling") or limits.get("image") == 0
    if not architecture.encoder_tokens or skipped:
        return None
    length, batch = settings.integer("max_model_len") or 1, settings.integer("max_num_batched_tokens") or 1
    frames = architecture.encoder_frames if limits.get("video", 1) else 1
    times = max(1, min(frames, length // architecture.encoder_tokens))
    tokens, patches = architecture.encoder_tokens * times, architecture.encoder_patches * times
    slots = settings.integer("max_num_seqs") or 1
    if rules(case).core is Core.V1:
        each = max(1, min(limits.get("image", batch), length // tokens))
        return Trial(items=max(1, min(max(batch, tokens) // tokens, slots * each)), tokens=tokens, patches=patches)
    if _crosses(case.model):
        return Trial(items=slots, tokens=tokens, patches=patches)
    return Trial(items=max(1, min(slots, batch // tokens)), tokens=tokens, patches=patches)


def _crosses(model: Model) -> bool:
    """Whether the text attends to the tower's output by itself: V0 then gives every sequence an item."""
    return any(isinstance(mixer, CrossAttention) for layer in model.architecture.layers for mixer in layer.mixers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Bytes the tower takes at its peak, and bytes of pixels and outputs that stay alive beside the text's forward pass."""

    peak: Amount
    kept: int


NOTHING_SEEN = Seen(peak=NOTHING, kept=0)


def seen(case: Case, element: int) -> Seen:
    """What the tower adds to the profile."""
    tried, tower = trial(case), tower_of(case.model, case.parallel.tensor)
    if tried is None or tower is None:
        return NOTHING_SEEN
    patches = tried.items * tried.patches
    pixels = patches * tower.pixels * element
    outputs = tried.items * tried.tokens * case.model.architecture.hidden_size * element
    merged = tried.items * tried.tokens * tower.kept * element
    peak = pixels + merged + patches * tower.block * element
    return Seen(peak=Amount(peak // 2, peak, peak * 8 // 5), kept=pixels + outputs)
