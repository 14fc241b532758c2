"""The tensors that loading leaves in memory, in the asked dtype."""

from functools import lru_cache

from ullage.catalog.tensor_formats import MODEL_DTYPES, model_dtype
from ullage.domain.case import Case
from ullage.domain.checkpoint import Part, Role, Tensor
from ullage.domain.workload import Workload
from ullage.engines.transformers.versions import rules
from ullage.formulas.allocator import allocated_bytes, pooled_bytes
from ullage.frozen import replace

_PLAIN = frozenset(fmt.name for fmt in MODEL_DTYPES.values())
_OF_THE_RUN = ("attn_implementation", "cache_implementation", "max_new_tokens", "prefill_chunk_size")


def weight_case(case: Case) -> Case:
    """The case without what moves no tensor, so that a search over lengths places the weights once."""
    return replace(case, workload=Workload(), settings=case.settings.without(*_OF_THE_RUN), stated=frozenset())


def keeps_tied_head(case: Case) -> bool:
    """Whether a head that should be the token table is held beside it all the same.

    Seen with block FP8 checkpoints (official_tables T0261 to T0288): each is heavier by exactly its token table.
    """
    return case.model.architecture.tied_embeddings and case.model.checkpoint.scheme.startswith("fp8")


def loaded_tensors(case: Case) -> tuple[Tensor, ...]:
    """What stays in memory: no draft layers, and no second copy of a tied head."""
    return _loaded(weight_case(case))


@lru_cache(maxsize=32)
def _loaded(case: Case) -> tuple[Tensor, ...]:
    tied = case.model.architecture.tied_embeddings
    stored = case.model.checkpoint.tensors
    kept = [_cast(case, tensor) for tensor in stored if tensor.role is not Role.MTP and not (tied and tensor.role is Role.HEAD)]
    if keeps_tied_head(case):
        kept += [replace(tensor, name="lm_head.weight", role=Role.HEAD) for tensor in kept if tensor.role is Role.EMBEDDING]
    return tuple(kept)


def _cast(case: Case, tensor: Tensor) -> Tensor:
    """Unquantised weights take the asked dtype; packed ones, scales and zeros stay as they are."""
    wanted = case.settings.text("dtype")
    if wanted is None or tensor.format.name not in _PLAIN or tensor.part in {Part.SCALE, Part.ZERO, Part.INDEX}:
        return tensor
    return replace(tensor, format=model_dtype(wanted))


def counted_bytes(case: Case, tensors: tuple[Tensor, ...]) -> int:
    """The blocks the tensors take in the allocator: cut from one block since the warm-up exists, before that one by one."""
    requests = ((tensor.nbytes // tensor.copies, tensor.copies) for tensor in tensors)
    return pooled_bytes(requests) if rules(case).warmup else allocated_bytes(requests)


def head_at_load(case: Case) -> int:
    """A tied head that the file holds all the same, alive beside the token table until the two are tied (AutoAWQ writes one)."""
    architecture, checkpoint = case.model.architecture, case.model.checkpoint
    if not architecture.tied_embeddings or keeps_tied_head(case):
        return 0
    written = sum(tensor.nbytes for tensor in checkpoint.tensors if tensor.role is Role.HEAD)
    if written or not checkpoint.scheme.startswith("awq"):
        return written
    return sum(tensor.nbytes for tensor in checkpoint.tensors if tensor.role is Role.EMBEDDING)


def activation_bytes(case: Case) -> int:
    """Bytes of one activation element; quantised models compute in the asked dtype too."""
    return model_dtype(case.settings.text("dtype") or case.model.architecture.dtype).block_bytes
