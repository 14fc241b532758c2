"""The pool that our planner lays out for a configuration, in the words in which vLLM's own answers are kept."""

from collections import Counter
from collections.abc import Iterable

from tests.cases import A100, machine
from ullage import formats
from ullage.architectures import read
from ullage.domain.case import Case, Model, Settings, Value, Version
from ullage.domain.hyperparameters import Hyperparameters, Json
from ullage.domain.workload import Workload
from ullage.engines.vllm import cache
from ullage.engines.vllm.capacity import capacity, scarcest
from ullage.engines.vllm.ledger import ledger
from ullage.engines.vllm.resolve import resolve

# vLLM's word for what a group's layers keep, and ours.
KINDS = {
    "FullAttentionSpec": "full",
    "SlidingWindowSpec": "sliding",
    "ChunkedLocalAttentionSpec": "chunked",
    "MLAAttentionSpec": "latent",
    "MambaSpec": "state",
}


# groups: how many of a kind keep so many tokens in a block; layers: of the largest group; page: bytes of one layer's block
Layout = dict[str, object]


def theirs(answer: dict[str, Json]) -> Layout:
    """A kept answer of vLLM as a layout; ``groups`` are (kind, layers, tokens of a block, bytes of a page)."""
    groups = [(KINDS[kind], layers, block) for kind, layers, block, _ in answer["groups"]]  # type: ignore[union-attr]
    layers = max(count for _, count, _ in groups)
    figures = {name: answer[name] for name in ("block_bytes", "blocks", "tokens", "longest") if name in answer}
    return {
        "groups": _counted((kind, block) for kind, _, block in groups),
        "layers": layers,
        "page": answer["block_bytes"] // layers,  # type: ignore[operator]
        **figures,
    }


def ours(config: dict[str, Json], version: str, settings: dict[str, Value]) -> Layout:
    """The layout that our planner finds with everything said that vLLM's answer was given under."""
    case = resolve(_case(config, version, settings))
    pool, held = cache.pools(case)[0], capacity(case, ledger(case))
    layers = max(group.layers for group in pool.groups)
    limit = case.model.architecture.max_context_tokens or case.settings.integer("max_model_len")
    return {
        "groups": _counted((group.kind, group.block_tokens) for group in pool.groups),
        "layers": layers,
        "page": pool.block_bytes // layers,
        "block_bytes": pool.block_bytes,
        "blocks": scarcest(case).blocks.expected,
        "tokens": held.kv_tokens.expected,
        "longest": min(held.max_context_tokens.expected, limit or held.max_context_tokens.expected),
    }


def _counted(groups: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """A block of states holds no tokens; the engine's figure for it is the length or the attention's block."""
    return dict(Counter((kind, 0 if kind == "state" else block) for kind, block in groups))


def _case(config: dict[str, Json], version: str, settings: dict[str, Value]) -> Case:
    blueprint = read(Hyperparameters(config))
    return Case(
        model=Model(
            name="asked",
            source="",
            architecture=blueprint.architecture,
            checkpoint=formats.checkpoint(blueprint, None),
            parameters=sum(tensor.elements for tensor in blueprint.tensors),
        ),
        engine="vllm",
        version=Version(tuple(int(part) for part in version.split(".")), version),
        machine=machine(A100, 1, total_gib=4000),  # the cache's size is said; the weights only have to fit
        workload=Workload(),
        settings=Settings.of(settings),
        stated=frozenset(settings),
    )
