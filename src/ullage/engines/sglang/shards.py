"""Weights of one rank: what tensor, pipeline, expert and data-parallel attention leave on a device, and the tables beside them."""

from functools import lru_cache

from ullage.catalog.tensor_formats import model_dtype
from ullage.domain.case import Case, Model
from ullage.domain.checkpoint import EXPERT_ROLES, Role, Tensor
from ullage.domain.placement import Parallel
from ullage.engines.sglang.fraction import is_multimodal
from ullage.engines.sglang.resolve import activation_dtype, attention_data, has_dual_chunk, rules
from ullage.engines.sglang.versions import WITHOUT_TABLES
from ullage.errors import InputError
from ullage.formulas.loaded import Loaded, loaded, rotary_bytes, unfolded_bytes
from ullage.formulas.sharding import Degrees
from ullage.frozen import dataclass
from ullage.units import GiB

TABLE_ELEMENT = 4  # rotary tables stay in fp32 on CUDA since 0.4.3
_ATTENTION = frozenset(
    {Role.Q, Role.K, Role.V, Role.QKV, Role.O, Role.Q_B, Role.KV_B, Role.ATTENTION_OTHER, Role.RECURRENT_IN, Role.RECURRENT_OUT}
    | {Role.RECURRENT_CONV, Role.RECURRENT_STATE, Role.EMBEDDING}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RankWeights:
    """Bytes of one rank of a pipeline stage: parameters, what MLA unfolds after loading, draft layers, and tables."""

    stage: int
    layers: tuple[int, int]  # first, one past the last
    parameters: int
    unfolded: int
    draft: int
    tables: int

    @property
    def nbytes(self) -> int:
        """What "Load weight end ... mem usage" prints, but for what loading leaves behind."""
        return self.parameters + self.unfolded + self.tables


def stage_layers(total: int, stages: int, partition: str | None, *, even: bool) -> tuple[tuple[int, int], ...]:
    """First and end layer of each stage. Extra layers go to the last stages, one each; before 0.5.3 all to the last.

    Raises InputError when ``partition`` (SGLANG_PP_LAYER_PARTITION) does not add up.
    """
    if partition:
        counts = [int(part) if part.strip().isdigit() else -1 for part in partition.split(",")]
        if len(counts) != stages or sum(counts) != total or min(counts) < 0:
            raise InputError(f"SGLANG_PP_LAYER_PARTITION={partition!r} needs {stages} whole numbers that add up to {total} layers")
    else:
        extra = total % stages
        counts = [total // stages + (1 if even and stage >= stages - extra else 0) for stage in range(stages)]
        counts[-1] += 0 if even else extra
    ends = [sum(counts[: stage + 1]) for stage in range(stages)]
    return tuple((end - count, end) for end, count in zip(ends, counts, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """What changes the bytes that are loaded."""

    dtype: str  # of activations and unquantised weights
    attention_data: int
    head_data: bool  # the output projection is whole on each rank of data-parallel attention
    towers: bool
    long_tables: bool
    drafts: bool  # draft layers of the checkpoint are loaded
    table_element: int
    even_stages: bool
    partition: str | None


def stages_of(case: Case) -> tuple[tuple[int, int], ...]:
    """The layers of each pipeline stage."""
    partition = dict(case.environment).get("SGLANG_PP_LAYER_PARTITION")
    return stage_layers(len(case.model.architecture.layers), case.parallel.pipeline, partition, even=rules(case).even_stages)


def rank_weights(case: Case) -> tuple[RankWeights, ...]:
    """One value for each pipeline stage; all tensor-parallel ranks of a stage are alike."""
    element = model_dtype(activation_dtype(case)).block_bytes
    fp32 = case.version.parts >= (0, 4, 3) and all(device.kind == "cuda" for device in case.devices)
    loading = Loading(
        dtype=activation_dtype(case),
        attention_data=attention_data(case),
        head_data=bool(case.settings.flag("enable_dp_lm_head")),
        towers=is_multimodal(case),
        long_tables=has_dual_chunk(case),
        drafts=uses_own_drafts(case),
        table_element=TABLE_ELEMENT if fp32 else element,
        even_stages=rules(case).even_stages,
        partition=dict(case.environment).get("SGLANG_PP_LAYER_PARTITION"),
    )
    return _rank_weights(case.model, case.parallel, loading)


def uses_own_drafts(case: Case) -> bool:
    """Whether the checkpoint's own draft layers speculate."""
    algorithm = case.settings.text("speculative_algorithm")
    return algorithm in {"EAGLE", "NEXTN", "EAGLE3"} and case.settings.text("speculative_draft_model_path") is None


@lru_cache(maxsize=512)
def _rank_weights(model: Model, parallel: Parallel, loading: Loading) -> tuple[RankWeights, ...]:
    architecture, element = model.architecture, model_dtype(loading.dtype).block_bytes
    attention = max(1, parallel.tensor // loading.attention_data)
    parts = _loaded(model, parallel, loading, attention)
    tabled = architecture.class_name not in WITHOUT_TABLES
    tables = rotary_bytes(model, element=loading.table_element, dual_chunk=loading.long_tables) if tabled else 0
    found = []
    bounds = stage_layers(len(architecture.layers), parallel.pipeline, loading.partition, even=loading.even_stages)
    for stage, (start, end) in enumerate(bounds):
        last = stage == parallel.pipeline - 1
        found.append(
            RankWeights(
                stage=stage,
                layers=(start, end),
                parameters=parts.of_stage(start, end, stage=stage, stages=parallel.pipeline),
                unfolded=sum(unfolded_bytes(layer.mixers, attention, element) for layer in architecture.layers[start:end]),
                draft=parts.draft if loading.drafts and last else 0,
                tables=tables,
            )
        )
    return tuple(found)


def _loaded(model: Model, parallel: Parallel, loading: Loading, attention: int) -> Loaded:
    """Attention is cut by the ranks that share its heads, the rest by all; with data-parallel attention the token table is whole."""
    everything = Degrees(tensor=parallel.tensor, expert=parallel.tensor, whole_experts=parallel.expert)
    heads = Degrees(tensor=attention, expert=parallel.tensor, whole_experts=parallel.expert)
    table = Degrees(tensor=1, expert=parallel.tensor, whole_experts=parallel.expert)

    def degrees(tensor: Tensor) -> Degrees:
        if loading.attention_data == 1 or tensor.role in EXPERT_ROLES:
            return everything
        if tensor.role is Role.EMBEDDING:
            return table
        if tensor.role is Role.HEAD:
            return heads if loading.head_data else everything
        return heads if tensor.role in _ATTENTION else everything

    return loaded(model, stages=parallel.pipeline, dtype=loading.dtype, towers=loading.towers, degrees=degrees)


def offloaded(case: Case) -> int:
    """Bytes of weights that ``--cpu-offload-gb`` moves from each device to the host."""
    return int((case.settings.number("cpu_offload_gb") or 0) * GiB)
