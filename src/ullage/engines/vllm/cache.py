"""The paged cache: bytes of a page by kind of layer, groups of layers that share one pool, and blocks a sequence needs."""

from functools import lru_cache
from math import lcm

from ullage.catalog.tensor_formats import model_dtype
from ullage.domain.architecture import CompressedAttention, FullAttention, LatentAttention, Mixer, Recurrent, SharedCache
from ullage.domain.case import Case, Model
from ullage.engines.vllm.compressed import slabs
from ullage.engines.vllm.drafts import draft
from ullage.engines.vllm.pages import Format, Spec, spec_of
from ullage.engines.vllm.processor import WIDE_STATES_SINCE, kernel_tokens, on_processor
from ullage.engines.vllm.resolve import activation_dtype, rules
from ullage.engines.vllm.shards import stage_layers
from ullage.formulas.sharding import ceil_div
from ullage.frozen import dataclass, replace


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How layers share a pool: tokens of a block, whether windows keep their own groups, how uneven groups may be padded."""

    block_tokens: int
    hybrid: bool
    padded_percent: int
    kernel_tokens: int = 1  # blocks of windows, and those beside states, are whole multiples of this many tokens
    draft_layers: int = 0
    dense: bool = True  # layers of different pages overlap from the start of a block


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
    if rules(case).windows_wait:
        stages = case.parallel.pipeline
        ahead = rules(case).async_scheduling and not on_processor(case) and case.settings.flag("async_scheduling") is not False
        batches = 2 if ahead and stages == 1 else stages
    return (case.settings.integer("max_num_batched_tokens") or 0) * batches


def spare_states(case: Case) -> int:
    """States per sequence beside its own: where prefixes are cached an aligned copy and a checkpoint, and one for each drafted token."""
    copies = (1 + _keeps_checkpoint(case)) if _keeps_prefixes(case) else 0
    return draft(case).tokens + copies


def _keeps_checkpoint(case: Case) -> bool:
    """Whether the state at the end of a prompt is exported beside the running one: Mamba2 layers do."""
    return rules(case).checkpoint_states and "mamba2" in case.model.architecture.recurrent_kinds


def _keeps_prefixes(case: Case) -> bool:
    """Whether prefixes of a model with states are cached: as said, by default from 0.25."""
    said = case.settings.flag("enable_prefix_caching")
    rule = rules(case)
    return rule.hybrid_manager and (rule.hybrid_prefixes if said is None else said)


def pools(case: Case) -> tuple[Pool, ...]:
    """One pool for each pipeline stage."""
    rule, settings, environment = rules(case), case.settings, dict(case.environment)
    drafted = draft(case)
    fmt = Format(
        tensor=case.parallel.tensor,
        element=model_dtype(activation_dtype(case)).block_bytes,
        kv_dtype=_kv_dtype(case),
        latent=rule.latent_cache and not environment.get("VLLM_MLA_DISABLE"),
        state_dtype=_state_dtype(case),
        convolution_dtype=_named(settings.text("mamba_cache_dtype")),
        drafted=drafted.tokens,
    )
    shape = Shape(
        block_tokens=settings.integer("block_size") or 16,
        hybrid=rule.hybrid_manager and not (settings.flag("disable_hybrid_kv_cache_manager") and _has_full_attention(case)),
        padded_percent=rule.padded_percent,
        kernel_tokens=kernel_tokens(case) if on_processor(case) else 1,
        draft_layers=drafted.own_layers,
        dense=rule.dense_slabs,
    )
    stages = stage_layers(len(case.model.architecture.layers), case.parallel.pipeline, environment.get("VLLM_PP_LAYER_PARTITION"))
    return _pools(case.model, stages, fmt, shape)


def _kv_dtype(case: Case) -> str:
    """As said; a processor's cache has no room for scales of tokens and heads, whatever is asked."""
    said = case.settings.text("kv_cache_dtype") or "auto"
    return "int8" if on_processor(case) and said in {"int8_per_token_head", "fp8_per_token_head"} else said


def _state_dtype(case: Case) -> str | None:
    """As said; newer releases keep states in float32 on processors, whatever was said."""
    if on_processor(case) and case.version.parts >= WIDE_STATES_SINCE:
        return "float32"
    return _named(case.settings.text("mamba_ssm_cache_dtype"))


def _has_full_attention(case: Case) -> bool:
    """Without the manager windows are counted as full attention, but only beside it: a model of windows alone keeps them."""
    return any(isinstance(mixer, FullAttention | LatentAttention) for layer in case.model.architecture.layers for mixer in layer.mixers)


def _named(dtype: str | None) -> str | None:
    return None if dtype == "auto" else dtype


@lru_cache(maxsize=1024)
def _pools(model: Model, stages: tuple[tuple[int, int], ...], fmt: Format, shape: Shape) -> tuple[Pool, ...]:
    built = []
    for stage, (start, end) in enumerate(stages):
        layers = model.architecture.layers[start:end] if model.architecture.is_decoder else ()  # an encoder keeps nothing
        mixers = [mixer for layer in layers for mixer in layer.mixers]
        if stage == len(stages) - 1:
            mixers += _draft_mixers(model)[-1:] * shape.draft_layers
        specs = tuple(spec for mixer in mixers if (spec := spec_of(mixer, fmt)) is not None)
        compressed = shape.hybrid and any(isinstance(mixer, CompressedAttention) for mixer in mixers)
        built.append(_slab(tuple(mixers), fmt, specs, dense=shape.dense) if compressed else _pool(specs, shape))
    return tuple(built)


def _slab(mixers: tuple[Mixer, ...], fmt: Format, specs: tuple[Spec, ...], *, dense: bool) -> Pool:
    block_bytes, groups = slabs(mixers, fmt, dense=dense)
    return Pool(
        groups=tuple(
            Group(
                kind="compressed" if group.kept_tokens is None else "sliding",
                layers=len(group.sizes),
                block_tokens=group.block_tokens,
                kept_tokens=group.kept_tokens,
            )
            for group in groups
        ),
        block_bytes=block_bytes,
        block_tokens=groups[0].block_tokens,
        token_bytes=sum(spec.token_bytes for spec in specs),
    )


def _draft_mixers(model: Model) -> list[Mixer]:
    """A draft layer attends as the last of these does: the layers that keep their own tokens."""
    return [mixer for layer in model.architecture.layers for mixer in layer.mixers if not isinstance(mixer, Recurrent | SharedCache)]


def _pool(specs: tuple[Spec, ...], shape: Shape) -> Pool:
    block_tokens = shape.block_tokens
    if not shape.hybrid:
        specs = tuple(Spec(kind="full", token_bytes=spec.token_bytes) if spec.token_bytes else spec for spec in specs)
    token_bytes = sum(spec.token_bytes for spec in specs)
    kinds = _by_kind(specs)
    if not kinds:
        return Pool(groups=(), block_bytes=1, block_tokens=block_tokens, token_bytes=0)
    if len(kinds) == 1:
        kind, alike = next(iter(kinds.items()))
        return _one_kind(kind, alike, _own_block(kind[0], shape), token_bytes)
    return _several_kinds(kinds, shape, token_bytes)


def _own_block(kind: str, shape: Shape) -> int:
    """Tokens of a block as a layer asks for it: windows take a multiple of what the kernel reads at once, whatever was said."""
    if kind != "sliding":
        return shape.block_tokens
    return max(shape.kernel_tokens, shape.block_tokens // shape.kernel_tokens * shape.kernel_tokens)


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


def _several_kinds(kinds: dict[Kind, list[Spec]], shape: Shape, token_bytes: int) -> Pool:
    """One page size for all: state pages set the attention's block, smaller pages get more tokens; then equal groups of layers."""
    block_tokens = shape.block_tokens
    state = max((spec.state_bytes for specs in kinds.values() for spec in specs), default=0)
    per_token = [spec.token_bytes for specs in kinds.values() for spec in specs if spec.token_bytes]
    if state and per_token:
        least, multiple = max(block_tokens, shape.kernel_tokens), shape.kernel_tokens
        block_tokens = ceil_div(least * ceil_div(state, least * max(per_token)), multiple) * multiple
    blocks = {kind: _own_block(kind[0], replace(shape, block_tokens=block_tokens)) for kind in kinds}
    page = max([spec.token_bytes * blocks[kind] for kind, specs in kinds.items() for spec in specs] + [state])
    counts = [len(specs) for specs in kinds.values()]
    size = max(counts) if max(counts) * 100 < min(counts) * shape.padded_percent else min(counts)
    groups: list[Group] = []
    for (name, kept), specs in kinds.items():
        tokens = block_tokens if name == "state" else _block_of(page, specs, blocks[name, kept])
        groups.extend(Group(kind=name, layers=size, block_tokens=tokens, kept_tokens=kept) for _ in range(ceil_div(len(specs), size)))
    return Pool(groups=tuple(groups), block_bytes=page * size, block_tokens=block_tokens, token_bytes=token_bytes)


def _block_of(page: int, specs: list[Spec], block_tokens: int) -> int:
    """Tokens of one page for layers whose own page is smaller, when it divides; padded pages keep the block."""
    own = lcm(*(max(spec.token_bytes, 1) for spec in specs)) * block_tokens
    return block_tokens * (page // own) if page % own == 0 else block_tokens
