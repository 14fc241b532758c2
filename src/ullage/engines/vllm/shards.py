"""Weights of one rank: what tensor, pipeline and expert parallelism leave on a device, and the buffers made beside them."""

from dataclasses import dataclass, replace
from functools import lru_cache

from ullage.catalog.tensor_formats import model_dtype
from ullage.domain.architecture import LatentAttention
from ullage.domain.case import Case, Model
from ullage.domain.checkpoint import Part, Role, Tensor
from ullage.domain.placement import Parallel
from ullage.engines.vllm.resolve import activation_dtype, rules
from ullage.engines.vllm.versions import Core
from ullage.errors import InputError
from ullage.formulas.sharding import Degrees, ceil_div, shard_bytes
from ullage.units import GiB


@dataclass(frozen=True, slots=True, kw_only=True)
class RankWeights:
    """Bytes of one rank of a pipeline stage: parameters, what MLA unfolds after loading, and tables counted as model memory."""

    stage: int
    layers: tuple[int, int]  # first, one past the last
    parameters: int
    unfolded: int
    tables: int

    @property
    def nbytes(self) -> int:
        """What "Model loading took" prints."""
        return self.parameters + self.unfolded + self.tables


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


def rank_weights(case: Case) -> tuple[RankWeights, ...]:
    """One value for each pipeline stage; all tensor-parallel ranks of a stage are alike."""
    environment = dict(case.environment)
    loading = Loading(
        dtype=activation_dtype(case),
        latent=rules(case).latent_cache and not environment.get("VLLM_MLA_DISABLE"),
        long_tables=rules(case).core is Core.V0 and case.version.parts >= (0, 9),
        towers=not case.settings.flag("language_model_only"),
        partition=environment.get("VLLM_PP_LAYER_PARTITION"),
    )
    return _rank_weights(case.model, case.parallel, loading)


@lru_cache(maxsize=512)
def _rank_weights(model: Model, parallel: Parallel, loading: Loading) -> tuple[RankWeights, ...]:
    architecture = model.architecture
    per_layer, first, last = _parts(model, parallel, loading)
    tables = _tables(model, loading)
    stages = []
    for stage, (start, end) in enumerate(stage_layers(len(architecture.layers), parallel.pipeline, loading.partition)):
        parameters = sum(per_layer[start:end]) + (first if stage == 0 else 0) + (last if stage == parallel.pipeline - 1 else 0)
        layers = architecture.layers[start:end] if loading.latent else ()
        unfolded = sum(_unfolded(layer.mixers, parallel.tensor, loading.dtype) for layer in layers)
        stages.append(RankWeights(stage=stage, layers=(start, end), parameters=parameters, unfolded=unfolded, tables=tables))
    return tuple(stages)


def _parts(model: Model, parallel: Parallel, loading: Loading) -> tuple[list[int], int, int]:
    """Bytes of one rank: of every layer, of what the first stage adds, of what the last stage adds."""
    architecture = model.architecture
    degrees = Degrees(tensor=parallel.tensor, expert=parallel.tensor * parallel.data, whole_experts=parallel.expert)
    per_layer, first, last = [0] * len(architecture.layers), 0, 0
    for tensor in model.checkpoint.tensors:
        if tensor.role is Role.MTP:
            continue
        layer = architecture.layers[tensor.layer] if tensor.layer is not None else None
        nbytes = shard_bytes(_as_loaded(tensor, loading.dtype), layer, degrees)
        if tensor.layer is not None:
            per_layer[tensor.layer] += nbytes
        elif tensor.role in {Role.VISION, Role.PROJECTOR}:
            first += nbytes if loading.towers else 0
        elif tensor.role in {Role.EMBEDDING, Role.POSITION}:
            first += nbytes
            last += nbytes if tensor.role is Role.EMBEDDING and architecture.tied_embeddings and parallel.pipeline > 1 else 0
        else:
            last += nbytes
    return per_layer, first, last


def _as_loaded(tensor: Tensor, dtype: str) -> Tensor:
    """Plain floating-point weights are loaded in the activation dtype; packed ones and scales keep their own format."""
    if tensor.part not in {Part.WEIGHT, Part.BIAS} or tensor.format.name not in {"bfloat16", "float16", "float32"}:
        return tensor
    wanted = model_dtype(dtype)
    return tensor if tensor.format.block_bytes == wanted.block_bytes else replace(tensor, format=wanted)


def _unfolded(mixers: tuple[object, ...], tensor: int, dtype: str) -> int:
    """W_UV and W_UK_T, made after loading beside kv_b_proj: heads/tp x latent x (nope + value) elements in the activation dtype."""
    element = model_dtype(dtype).block_bytes
    return sum(
        ceil_div(mixer.query_heads, tensor) * mixer.latent_dim * (mixer.nope_dim + mixer.value_dim) * element
        for mixer in mixers
        if isinstance(mixer, LatentAttention)
    )


def _tables(model: Model, loading: Loading) -> int:
    """Rotary tables. Dual chunk attention keeps four more chunks of positions (five tables over one pool of rows)."""
    architecture = model.architecture
    element = model_dtype(loading.dtype).block_bytes
    dual = architecture.dual_chunk
    extra = 4 * dual.step_tokens if dual is not None and loading.long_tables else 0
    return sum(table.dim * (table.positions + extra) * element for table in architecture.rotary)


def offloaded(case: Case) -> int:
    """Bytes of weights that ``--cpu-offload-gb`` moves from each device to the host."""
    return int((case.settings.number("cpu_offload_gb") or 0) * GiB)
