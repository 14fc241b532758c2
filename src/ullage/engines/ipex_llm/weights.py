"""Weights as IPEX-LLM has them in memory: packed while loading, padded for the fork of vLLM, and cut over its ranks."""

from functools import lru_cache

from ullage.catalog.ipex_blocks import block_format
from ullage.catalog.tensor_formats import model_dtype
from ullage.domain.case import Case, Model
from ullage.domain.checkpoint import Checkpoint, Part, Role, Tensor, TensorFormat
from ullage.domain.placement import Parallel
from ullage.engines.ipex_llm.resolve import SCHEME, activation_dtype, is_served
from ullage.formulas.loaded import as_loaded, loaded, rotary_bytes
from ullage.formulas.sharding import Degrees, ceil_div
from ullage.frozen import dataclass, replace

PADDED_TO = 256  # the fork pads the MLP's width per rank
_PADDED_FAMILIES = frozenset({"qwen2", "chatglm", "baichuan"})
_FOUR_BITS = frozenset({"sym_int4", "asym_int4", "nf4", "fp4", "woq_int4"})
_WIDE, _DEEP = frozenset({Role.GATE, Role.UP}), frozenset({Role.DOWN})


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """What loading makes of a model: formats of the layers, of the head and of the table, and how wide an MLP is padded."""

    word: str
    head: str
    table: str | None
    multiple: int
    separate_head: bool  # a tied head becomes a packed copy of its own


def packing(case: Case) -> Packing:
    """As the settings of a resolved case say."""
    word, served = case.settings.text("load_in_low_bit") or "", is_served(case)
    mixed = bool(case.settings.flag("mixed_precision")) and word in _FOUR_BITS and not served
    padded = served and case.model.architecture.model_type in _PADDED_FAMILIES
    return Packing(
        word=word,
        head="q6_k" if mixed else word,
        table=None if served else case.settings.text("embedding_qtype"),
        multiple=PADDED_TO * case.parallel.tensor if padded else 1,
        separate_head=not served and case.model.architecture.tied_embeddings,
    )


def packed(case: Case) -> Model:
    """The model with its tensors as they are in memory; what others have quantised already keeps its size."""
    return _packed(case.model, packing(case))


@lru_cache(maxsize=64)
def _packed(model: Model, how: Packing) -> Model:
    plain = model.unquantised if model.unquantised is not None else model.checkpoint
    if model.unquantised is None and model.is_quantised:
        return model
    tensors = tuple(_as_packed(_padded(tensor, how.multiple), how) for tensor in plain.tensors)
    if how.separate_head:
        tensors = (*tensors, *(_head_copy(tensor, how) for tensor in plain.tensors if tensor.role is Role.EMBEDDING))
    return replace(model, checkpoint=Checkpoint(tensors=tensors, scheme=SCHEME + how.word, exact=False))


def _padded(tensor: Tensor, multiple: int) -> Tensor:
    if multiple == 1 or len(tensor.shape) != 2:  # noqa: PLR2004 - a matrix
        return tensor
    rows, columns = tensor.shape
    if tensor.role in _WIDE:
        return replace(tensor, shape=(ceil_div(rows, multiple) * multiple, columns))
    return replace(tensor, shape=(rows, ceil_div(columns, multiple) * multiple)) if tensor.role in _DEEP else tensor


def _as_packed(tensor: Tensor, how: Packing) -> Tensor:
    """Linear layers and the head whose rows fill whole blocks; the token table where it was asked for."""
    if tensor.part is not Part.WEIGHT or len(tensor.shape) < 2:  # noqa: PLR2004 - a matrix
        return tensor
    if tensor.role is Role.EMBEDDING:
        return _in_blocks(tensor, how.table)
    if tensor.role is Role.HEAD:
        return _in_blocks(tensor, how.head)
    return _in_blocks(tensor, how.word) if tensor.is_linear else tensor


def _in_blocks(tensor: Tensor, word: str | None) -> Tensor:
    found: TensorFormat | None = block_format(word) if word is not None else None
    return tensor if found is None or tensor.shape[-1] % found.block_elements else replace(tensor, format=found)


def _head_copy(table: Tensor, how: Packing) -> Tensor:
    return _in_blocks(replace(table, name="lm_head.weight", role=Role.HEAD), how.head)


@dataclass(frozen=True, slots=True)
class RankWeights:
    """Bytes of one rank of a pipeline stage: parameters and tables, the layers it has, and what stays on the host."""

    parameters: int
    tables: int
    layers: tuple[int, int]
    on_host: int

    @property
    def nbytes(self) -> int:
        """What lies on the device."""
        return self.parameters + self.tables


def rank_weights(case: Case) -> tuple[RankWeights, ...]:
    """One value for each pipeline stage."""
    apart = bool(case.settings.flag("cpu_embedding")) and not is_served(case)
    return _rank_weights(packed(case), case.parallel, activation_dtype(case), apart)


@lru_cache(maxsize=128)
def _rank_weights(model: Model, parallel: Parallel, dtype: str, table_apart: bool) -> tuple[RankWeights, ...]:  # noqa: FBT001 - a key of the cache
    degrees = Degrees(tensor=parallel.tensor, expert=parallel.tensor, whole_experts=False)
    parts = loaded(model, stages=parallel.pipeline, dtype=dtype, towers=True, degrees=lambda _: degrees)
    tables = rotary_bytes(model, element=model_dtype(dtype).block_bytes, dual_chunk=False)
    count = len(model.architecture.layers)
    table = (
        sum(as_loaded(tensor, dtype).nbytes for tensor in model.checkpoint.tensors if tensor.role is Role.EMBEDDING) if table_apart else 0
    )
    stages = []
    for stage in range(parallel.pipeline):
        start, end = count * stage // parallel.pipeline, count * (stage + 1) // parallel.pipeline
        nbytes = parts.of_stage(start, end, stage=stage, stages=parallel.pipeline)
        away = table if stage == 0 else 0
        stages.append(RankWeights(nbytes - away, tables, (start, end), away))
    return tuple(stages)


def unpacked_bytes(case: Case) -> int:
    """The whole model in 16 bits, as the host holds it while it is packed."""
    return sum(tensor.elements for tensor in packed(case).checkpoint.tensors) * 2


def largest_matrix(case: Case) -> int:
    """Elements of the largest single matrix."""
    return max((tensor.elements // tensor.copies for tensor in packed(case).checkpoint.tensors), default=0)
