"""The pool of the SGLang fork: what ``mem_fraction_static`` of the memory that was free before loading leaves beside the weights."""

from functools import lru_cache

from ullage.catalog.tensor_formats import F32, model_dtype, stored_format
from ullage.domain.architecture import ChunkedAttention, CrossAttention, FullAttention, Layer, Mixer, Recurrent, SlidingAttention
from ullage.domain.case import Case, Model
from ullage.domain.checkpoint import TensorFormat
from ullage.domain.ledger import NOTHING, Amount, amount_of
from ullage.domain.machine import Device
from ullage.engines.ktransformers.kernel_weights import gpu_bytes
from ullage.engines.ktransformers.versions import KT_CONTEXT, KT_NETWORK
from ullage.formulas.cache import mixer_bytes
from ullage.formulas.sharding import ceil_div, kv_heads_per_rank
from ullage.frozen import dataclass, replace

STATE_RATIO = (9, 10)  # --mamba-full-memory-ratio 0.9: state to cache, so 9/19 of the pool is state
_LEAST_REQUESTS, _MOST_REQUESTS = 2048, 4096
_WORDS = {"fp8_e4m3": "F8_E4M3", "fp8_e5m2": "F8_E5M2", "bfloat16": "BF16"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """One device's pool. ``budget`` is weights, cache and state together; ``told`` says that a number of tokens was given."""

    free: Amount
    budget: Amount
    tokens: Amount
    cache: Amount
    state: Amount
    token_bytes: int
    told: bool


def cache_format(case: Case) -> TensorFormat:
    """The format of keys and values."""
    said = case.settings.text("kv_cache_dtype") or "auto"
    return model_dtype(case.model.architecture.dtype) if said == "auto" else stored_format(_WORDS[said])


def _on_rank(mixer: Mixer, tensor: int) -> Mixer:
    if isinstance(mixer, FullAttention | SlidingAttention | ChunkedAttention | CrossAttention):
        return replace(mixer, kv_heads=kv_heads_per_rank(mixer.kv_heads, tensor))
    return mixer


def rank_layers(case: Case) -> tuple[Layer, ...]:
    """The layers with the key heads of one rank; a latent is whole on every rank."""
    return _rank_layers(case.model, case.parallel.tensor)


@lru_cache(maxsize=64)
def _rank_layers(model: Model, tensor: int) -> tuple[Layer, ...]:
    layers = model.architecture.layers
    return tuple(replace(layer, mixers=tuple(_on_rank(mixer, tensor) for mixer in layer.mixers)) for layer in layers)


def token_bytes(layers: tuple[Layer, ...], fmt: TensorFormat) -> int:
    """One token over all layers; a window keeps it like full attention, as the pool has one kind of row."""
    return sum(mixer_bytes(mixer, tokens=1, fmt=fmt) for layer in layers for mixer in layer.mixers if not isinstance(mixer, Recurrent))


def _state_bytes(case: Case) -> int:
    """Recurrent state of one sequence on one rank."""
    conv = model_dtype(case.model.architecture.dtype)
    found = [mixer for layer in rank_layers(case) for mixer in layer.mixers if isinstance(mixer, Recurrent)]
    return sum(ceil_div(mixer_bytes(m, tokens=0, fmt=conv, state_fmt=F32), case.parallel.tensor) for m in found)


def free_before_load(case: Case, device: Device) -> Amount:
    """What the driver says is free when the engine looks for the first time."""
    context = amount_of(KT_CONTEXT)
    network = amount_of(KT_NETWORK) if case.parallel.tensor > 1 else NOTHING
    room = device.total_bytes - device.reserved_bytes
    return Amount(*(max(0, room - c - n) for c, n in zip(_ends(context)[::-1], _ends(network)[::-1], strict=True)))


def _ends(amount: Amount) -> tuple[int, int, int]:
    return amount.low, amount.expected, amount.high


def pool(case: Case, device: Device) -> Pool:
    """The pool of one device."""
    free, cell = free_before_load(case, device), token_bytes(rank_layers(case), cache_format(case))
    fraction, used = case.settings.number("mem_fraction_static") or 0.0, gpu_bytes(case)
    budget = [int(part * fraction) for part in _ends(free)]
    slot = _state_bytes(case)
    asked, page = case.settings.integer("max_total_tokens"), case.settings.integer("page_size") or 1
    tokens, state = [], []
    for part in budget:
        rest = max(0, part - used)
        held = rest * STATE_RATIO[0] // sum(STATE_RATIO) // slot * slot if slot else 0
        count = (rest - held) // cell // page * page if cell else 0
        tokens.append(min(count, asked) if asked is not None else count)
        state.append(held)
    told = asked is not None and tokens[1] == asked
    return Pool(
        free=free,
        budget=Amount(*budget),
        tokens=Amount(*tokens),
        cache=Amount(*(count * cell for count in tokens)),
        state=Amount(*state),
        token_bytes=cell,
        told=told,
    )


def request_rows(case: Case, tokens: int) -> int:
    """Sequences at once, each a row of the table of token places."""
    said, length = case.settings.integer("max_running_requests"), case.settings.integer("context_length") or 1
    usual = min(max(tokens * 512 // length, _LEAST_REQUESTS), _MOST_REQUESTS)
    return max(1, min(said or usual, tokens // 2))
