"""What PyTorch's allocator counts beyond the weights' own bytes: the rest of each segment that no other tensor can use.

vLLM joins what one kernel reads (q, k and v; gate and up; the experts of a layer), so a request is a joined tensor.
"""

from collections.abc import Iterable
from functools import lru_cache

from ullage.domain.case import Model
from ullage.domain.checkpoint import Role, Tensor
from ullage.formulas.allocator import allocated_bytes
from ullage.formulas.loaded import as_loaded
from ullage.formulas.sharding import Degrees, shard_bytes

_JOINED = {
    Role.Q: "qkv",
    Role.K: "qkv",
    Role.V: "qkv",
    Role.GATE: "gate_up",
    Role.UP: "gate_up",
    Role.SHARED_GATE: "shared_gate_up",
    Role.SHARED_UP: "shared_gate_up",
    Role.EXPERT_GATE: "experts_gate_up",
    Role.EXPERT_UP: "experts_gate_up",
    Role.EXPERT_GATE_UP: "experts_gate_up",
    Role.EXPERT_DOWN: "experts_down",
    Role.Q_A: "latents",
    Role.KV_A: "latents",
}
_LEFT_OUT = frozenset({Role.MTP})
_TOWERS = frozenset({Role.VISION, Role.PROJECTOR})


@lru_cache(maxsize=512)
def rounding_bytes(model: Model, stages: tuple[tuple[int, int], ...], dtype: str, degrees: Degrees, *, towers: bool) -> tuple[int, ...]:
    """For each pipeline stage, what is counted as allocated less what its tensors hold."""
    layers = model.architecture.layers
    found = []
    for stage, (start, end) in enumerate(stages):
        is_first, is_last = stage == 0, stage == len(stages) - 1
        sizes: dict[tuple[int | None, str], int] = {}
        for tensor in model.checkpoint.tensors:
            if not _belongs(tensor, start, end, is_first=is_first, is_last=is_last, towers=towers):
                continue
            layer = layers[tensor.layer] if tensor.layer is not None and tensor.layer < len(layers) else None
            key = (tensor.layer, _name(tensor))
            sizes[key] = sizes.get(key, 0) + shard_bytes(as_loaded(tensor, dtype), layer, degrees)
        found.append(_rounding(sizes.values()))
    return tuple(found)


def _belongs(tensor: Tensor, start: int, end: int, *, is_first: bool, is_last: bool, towers: bool) -> bool:
    if tensor.role in _LEFT_OUT:
        return False
    if tensor.layer is not None:
        return start <= tensor.layer < end
    if tensor.role in _TOWERS:
        return is_first and towers
    return is_first if tensor.role in {Role.EMBEDDING, Role.POSITION} else is_last


def _name(tensor: Tensor) -> str:
    """The request a tensor is part of: joined roles share one for each kind of part."""
    joined = _JOINED.get(tensor.role)
    return f"{joined}.{tensor.part}" if joined and tensor.layer is not None else tensor.name


def _rounding(sizes: Iterable[int]) -> int:
    requests = [(size, 1) for size in sizes if size]
    return allocated_bytes(requests) - sum(size for size, _ in requests)
