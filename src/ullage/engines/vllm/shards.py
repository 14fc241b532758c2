"""Weights of one rank: what tensor, pipeline and expert parallelism leave on a device, and the buffers made beside them."""

from functools import lru_cache

from ullage.catalog.tensor_formats import model_dtype
from ullage.domain.case import Case, Model
from ullage.domain.placement import Parallel
from ullage.engines.vllm.allocated import rounding_bytes
from ullage.engines.vllm.drafts import draft
from ullage.engines.vllm.kernels import dropped_bytes, padding_bytes
from ullage.engines.vllm.processor import on_processor
from ullage.engines.vllm.resolve import activation_dtype, capability, rules
from ullage.engines.vllm.versions import Core
from ullage.errors import InputError
from ullage.formulas.loaded import loaded, rotary_bytes, unfolded_bytes
from ullage.formulas.sharding import Degrees
from ullage.frozen import dataclass, replace
from ullage.units import GiB


@dataclass(frozen=True, slots=True, kw_only=True)
class RankWeights:
    """Bytes of one rank of a pipeline stage: parameters, what MLA unfolds after loading, and tables counted as model memory."""

    stage: int
    layers: tuple[int, int]  # first, one past the last
    parameters: int
    unfolded: int
    tables: int
    padding: int = 0  # rows and columns a kernel adds, and segments' rests that the allocator counts as taken

    @property
    def nbytes(self) -> int:
        """What "Model loading took" prints."""
        return self.parameters + self.unfolded + self.tables + self.padding


def stage_layers(total: int, stages: int, partition: str | None) -> tuple[tuple[int, int], ...]:
    """First and end layer of each stage. The remainder goes to stages from the last but one backwards; the last never gets it.

    Raises InputError when ``partition`` (VLLM_PP_LAYER_PARTITION) does not add up.
    """
    if partition:
        counts = [int(part) if part.strip().isdigit() else -1 for part in partition.split(",")]
        if len(counts) != stages or sum(counts) != total or min(counts) < 0:
            raise InputError(f"VLLM_PP_LAYER_PARTITION={partition!r} needs {stages} whole numbers that add up to {total} layers")
    else:
        counts = [total // stages] * stages
        for extra in range(total % stages):
            counts[stages - 2 - extra] += 1
    bounds, first = [], 0
    for count in counts:
        bounds.append((first, first + count))
        first += count
    return tuple(bounds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """What changes the bytes that are loaded."""

    dtype: str  # of activations and unquantised weights
    latent: bool  # MLA with its unfolded matrices
    long_tables: bool  # dual chunk attention's longer rotary tables
    towers: bool  # vision and audio towers
    partition: str | None
    release: tuple[int, ...]
    capability: tuple[int, int] | None
    draft_layers: bool  # the checkpoint's own draft layers


def rank_weights(case: Case) -> tuple[RankWeights, ...]:
    """One value for each pipeline stage; all tensor-parallel ranks of a stage are alike."""
    environment = dict(case.environment)
    loading = Loading(
        dtype=activation_dtype(case),
        latent=rules(case).latent_cache and not environment.get("VLLM_MLA_DISABLE"),
        long_tables=rules(case).core is Core.V0 and case.version.parts >= (0, 9),
        towers=not case.settings.flag("language_model_only"),
        partition=environment.get("VLLM_PP_LAYER_PARTITION"),
        release=case.version.parts,
        capability=capability(case),
        draft_layers=draft(case).own_layers > 0,
    )
    found = _rank_weights(case.model, case.parallel, loading)
    return tuple(replace(stage, padding=0) for stage in found) if on_processor(case) else found


@lru_cache(maxsize=512)
def _rank_weights(model: Model, parallel: Parallel, loading: Loading) -> tuple[RankWeights, ...]:
    architecture, element = model.architecture, model_dtype(loading.dtype).block_bytes
    degrees = Degrees(tensor=parallel.tensor, expert=parallel.tensor * parallel.data, whole_experts=parallel.expert)
    parts = loaded(model, stages=parallel.pipeline, dtype=loading.dtype, towers=loading.towers, degrees=lambda _: degrees)
    tables = rotary_bytes(model, element=element, dual_chunk=loading.long_tables)
    bounds = stage_layers(len(architecture.layers), parallel.pipeline, loading.partition)
    rests = rounding_bytes(model, bounds, loading.dtype, degrees, towers=loading.towers)
    tiled = padding_bytes(model, loading.release, loading.capability, degrees)
    dropped = dropped_bytes(model, loading.release, loading.capability, degrees)
    stages = []
    for stage, (start, end) in enumerate(bounds):
        parameters = parts.of_stage(start, end, stage=stage, stages=parallel.pipeline)
        parameters += parts.draft if loading.draft_layers and stage == parallel.pipeline - 1 else 0
        padding = rests[stage] + _between(tiled, start, end) - _between(dropped, start, end)
        layers = architecture.layers[start:end] if loading.latent else ()
        unfolded = sum(unfolded_bytes(layer.mixers, parallel.tensor, element) for layer in layers)
        stages.append(
            RankWeights(stage=stage, layers=(start, end), parameters=parameters, unfolded=unfolded, tables=tables, padding=padding)
        )
    return tuple(stages)


def _between(by_layer: dict[int, int], start: int, end: int) -> int:
    return sum(nbytes for layer, nbytes in by_layer.items() if start <= layer < end)


def offloaded(case: Case) -> int:
    """Bytes of weights that ``--cpu-offload-gb`` moves from each device to the host."""
    return int((case.settings.number("cpu_offload_gb") or 0) * GiB)
