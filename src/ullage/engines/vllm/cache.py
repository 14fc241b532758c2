"""The paged cache: bytes of a page by kind of layer, groups of layers that share one pool, and blocks a sequence needs."""

from dataclasses import dataclass
from functools import lru_cache
from math import lcm

from ullage.catalog.tensor_formats import model_dtype
from ullage.domain.architecture import (
    ChunkedAttention,
    CompressedAttention,
    CrossAttention,
    FullAttention,
    Indexer,
    LatentAttention,
    Mixer,
    Recurrent,
    SharedCache,
    SlidingAttention,
)
from ullage.domain.case import Case, Model
from ullage.engines.vllm.resolve import activation_dtype, rules
from ullage.engines.vllm.shards import stage_layers
from ullage.errors import UnsupportedModelError
from ullage.formulas.sharding import ceil_div, kv_heads_per_rank

# Bytes of one cached element, and extra bytes per head and token for key and value together.
KV_FORMATS = {
    "auto": (None, 0),
    "float16": (2, 0),
    "half": (2, 0),
    "bfloat16": (2, 0),
    "float32": (4, 0),
    "fp8": (1, 0),
    "fp8_e4m3": (1, 0),
    "fp8_e5m2": (1, 0),
    "fp8_inc": (1, 0),
    "fp8_per_token_head": (1, 8),
    "int8": (1, 0),
    "int8_per_token_head": (1, 8),
}
# Latent caches with a layout of their own: bytes per token.
LATENT_FORMATS = {"fp8_ds_mla": 656, "nvfp4_ds_mla": 352}
INDEXER_KEY_EXTRA = 4  # one fp32 scale beside an fp8 indexer key
PADDED_LATENT_HEAD = 256  # before 0.7.1 MLA kept keys and values of every head, padded to this width


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What one layer asks of the pool. ``token_bytes`` per token, or ``state_bytes`` per sequence; ``kept_tokens`` bounds a window."""

    kind: str  # "full", "sliding", "chunked", "latent", "state", "compressed"
    token_bytes: int = 0
    state_bytes: int = 0
    kept_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Layers of one kind that take blocks together."""

    kind: str
    layers: int
    block_tokens: int
    kept_tokens: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The pool of one rank: groups, bytes of one block over a group's layers, tokens of one block."""

    groups: tuple[Group, ...]
    block_bytes: int
    block_tokens: int
    token_bytes: int  # what one token adds on this rank while every window is open

    def blocks_for(self, tokens: int, *, in_flight: int, spare_states: int) -> int:
        """Blocks one sequence of ``tokens`` needs over all groups, with a chunk of ``in_flight`` tokens under way."""
        return sum(_group_blocks(group, tokens, in_flight, spare_states) for group in self.groups)


def _group_blocks(group: Group, tokens: int, in_flight: int, spare_states: int) -> int:
    if group.kind == "state":
        return 1 + spare_states
    if group.kept_tokens is None:
        return ceil_div(tokens, group.block_tokens)
    if group.kind == "chunked":
        return ceil_div(min(group.kept_tokens + in_flight, tokens), group.block_tokens)
    return ceil_div(min(group.kept_tokens - 1 + in_flight, tokens), group.block_tokens) + 1


def in_flight_tokens(case: Case) -> int:
    """Tokens that may be scheduled before a window can let its oldest go: one batch, two with asynchronous scheduling."""
    batches = 1
    if case.parallel.pipeline > 1:
        batches = case.parallel.pipeline
    elif rules(case).async_scheduling and case.settings.flag("async_scheduling") is not False:
        batches = 2
    return (case.settings.integer("max_num_batched_tokens") or 0) * batches


def spare_states(case: Case) -> int:
    """A second state per sequence when prefix caching keeps aligned copies."""
    return 0 if case.settings.flag("enable_prefix_caching") is False or not rules(case).hybrid_manager else 1


def pools(case: Case) -> tuple[Pool, ...]:
    """One pool for each pipeline stage."""
    rule = rules(case)
    hybrid = rule.hybrid_manager and not case.settings.flag("disable_hybrid_kv_cache_manager")
    return _pools(
        case.model,
        case.parallel.tensor,
        stage_layers(len(case.model.architecture.layers), case.parallel.pipeline, dict(case.environment).get("VLLM_PP_LAYER_PARTITION")),
        case.settings.integer("block_size") or 16,
        case.settings.text("kv_cache_dtype") or "auto",
        activation_dtype(case),
        hybrid,
        rule.latent_cache and not dict(case.environment).get("VLLM_MLA_DISABLE"),
    )


@lru_cache(maxsize=1024)
def _pools(
    model: Model,
    tensor: int,
    stages: tuple[tuple[int, int], ...],
    block_tokens: int,
    kv_dtype: str,
    dtype: str,
    hybrid: bool,  # noqa: FBT001
    latent: bool,  # noqa: FBT001
) -> tuple[Pool, ...]:
    element = model_dtype(dtype).block_bytes
    built = []
    for start, end in stages:
        specs = [
            spec
            for layer in model.architecture.layers[start:end]
            for mixer in layer.mixers
            if (spec := _spec(mixer, tensor=tensor, element=element, kv_dtype=kv_dtype, latent=latent)) is not None
        ]
        built.append(_pool(tuple(specs), block_tokens, hybrid=hybrid))
    return tuple(built)


def _spec(  # noqa: PLR0911 - one answer for each kind of mixer
    mixer: Mixer, *, tensor: int, element: int, kv_dtype: str, latent: bool
) -> Spec | None:
    match mixer:
        case FullAttention():
            return Spec(kind="full", token_bytes=_pair_bytes(mixer, tensor, element, kv_dtype) + _indexer_bytes(mixer.indexer))
        case SlidingAttention():
            return Spec(kind="sliding", token_bytes=_pair_bytes(mixer, tensor, element, kv_dtype), kept_tokens=mixer.window_tokens)
        case ChunkedAttention():
            return Spec(kind="chunked", token_bytes=_pair_bytes(mixer, tensor, element, kv_dtype), kept_tokens=mixer.chunk_tokens)
        case LatentAttention():
            return Spec(kind="latent", token_bytes=_latent_bytes(mixer, tensor, element, kv_dtype, latent=latent))
        case CompressedAttention():
            return Spec(kind="compressed", token_bytes=_compressed_bytes(mixer, element, kv_dtype), kept_tokens=None)
        case Recurrent():
            return Spec(kind="state", state_bytes=ceil_div((mixer.conv_elements + mixer.state_elements) * element, tensor))
        case CrossAttention() | SharedCache():
            return None


def _pair_bytes(mixer: FullAttention | SlidingAttention | ChunkedAttention, tensor: int, element: int, kv_dtype: str) -> int:
    """Key and value of one token in one layer on one rank."""
    heads = kv_heads_per_rank(mixer.kv_heads, tensor)
    if kv_dtype == "int4_per_token_head":
        return heads * ((mixer.key_dim + mixer.value_dim) // 2 + 16)
    size, extra = _kv_format(kv_dtype)
    return heads * ((mixer.key_dim + mixer.value_dim) * (size or element) + extra)


def _kv_format(kv_dtype: str) -> tuple[int | None, int]:
    if kv_dtype in LATENT_FORMATS:
        return 1, 0
    if kv_dtype not in KV_FORMATS:
        known = ", ".join(sorted((*KV_FORMATS, *LATENT_FORMATS, "int4_per_token_head")))
        raise UnsupportedModelError(f"kv_cache_dtype {kv_dtype!r} has no known size; known are {known}")
    return KV_FORMATS[kv_dtype]


def _latent_bytes(mixer: LatentAttention, tensor: int, element: int, kv_dtype: str, *, latent: bool) -> int:
    """One latent for all heads, repeated on every rank; before 0.7.1 padded keys and values of each head instead."""
    size, _ = _kv_format(kv_dtype)
    if not latent:
        return 2 * ceil_div(mixer.query_heads, tensor) * PADDED_LATENT_HEAD * (size or element)
    sparse_fp8 = mixer.indexer is not None and kv_dtype.startswith("fp8")
    own = LATENT_FORMATS.get("fp8_ds_mla" if sparse_fp8 else kv_dtype, (mixer.latent_dim + mixer.rope_dim) * (size or element))
    return own + _indexer_bytes(mixer.indexer)


def _indexer_bytes(indexer: Indexer | None) -> int:
    """One fp8 key of the sparse indexer and its scale."""
    return 0 if indexer is None else indexer.key_dim + INDEXER_KEY_EXTRA


def _compressed_bytes(mixer: CompressedAttention, element: int, kv_dtype: str) -> int:
    """One entry for every ``ratio`` tokens, averaged over the tokens; the window itself is small and counted by the token."""
    size, _ = _kv_format(kv_dtype)
    entry = mixer.key_dim * (size or element)
    if mixer.ratio == 0:
        return 0
    return ceil_div(entry + _indexer_bytes(mixer.indexer), mixer.ratio)


def _pool(specs: tuple[Spec, ...], block_tokens: int, *, hybrid: bool) -> Pool:
    if not hybrid:
        specs = tuple(Spec(kind="full", token_bytes=spec.token_bytes) if spec.token_bytes else spec for spec in specs)
    token_bytes = sum(spec.token_bytes for spec in specs)
    kinds = _by_kind(specs)
    if not kinds:
        return Pool(groups=(), block_bytes=1, block_tokens=block_tokens, token_bytes=0)
    if len(kinds) == 1:
        return _one_kind(*next(iter(kinds.items())), block_tokens, token_bytes)
    return _several_kinds(kinds, block_tokens, token_bytes)


Kind = tuple[str, int | None]


def _by_kind(specs: tuple[Spec, ...]) -> dict[Kind, list[Spec]]:
    kinds: dict[Kind, list[Spec]] = {}
    for spec in specs:
        kinds.setdefault((spec.kind, spec.kept_tokens), []).append(spec)
    return kinds


def _one_kind(kind: Kind, specs: list[Spec], block_tokens: int, token_bytes: int) -> Pool:
    """Layers of one kind form one group; their pages may differ in size."""
    name, kept = kind
    page = sum(spec.state_bytes or spec.token_bytes * block_tokens for spec in specs)
    group = Group(kind=name, layers=len(specs), block_tokens=block_tokens, kept_tokens=kept)
    return Pool(groups=(group,), block_bytes=page, block_tokens=block_tokens, token_bytes=token_bytes)


def _several_kinds(kinds: dict[Kind, list[Spec]], block_tokens: int, token_bytes: int) -> Pool:
    """One page size for all: state pages set the attention's block, smaller pages get more tokens; then equal groups of layers."""
    state = max((spec.state_bytes for specs in kinds.values() for spec in specs), default=0)
    per_token = [spec.token_bytes for specs in kinds.values() for spec in specs if spec.token_bytes]
    if state and per_token:
        widest = max(per_token)
        block_tokens = block_tokens * ceil_div(state, block_tokens * widest)
    page = max([spec.token_bytes * block_tokens for specs in kinds.values() for spec in specs] + [state])
    counts = [len(specs) for specs in kinds.values()]
    size = max(counts) if max(counts) * 2 < min(counts) * 3 else min(counts)
    groups: list[Group] = []
    for (name, kept), specs in kinds.items():
        tokens = block_tokens if name == "state" else _block_of(page, specs, block_tokens)
        groups.extend(Group(kind=name, layers=size, block_tokens=tokens, kept_tokens=kept) for _ in range(ceil_div(len(specs), size)))
    return Pool(groups=tuple(groups), block_bytes=page * size, block_tokens=block_tokens, token_bytes=token_bytes)


def _block_of(page: int, specs: list[Spec], block_tokens: int) -> int:
    """Tokens of one page for layers whose own page is smaller, when it divides; padded pages keep the block."""
    own = lcm(*(max(spec.token_bytes, 1) for spec in specs)) * block_tokens
    return block_tokens * (page // own) if page % own == 0 else block_tokens
