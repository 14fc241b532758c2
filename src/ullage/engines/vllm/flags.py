"""Every flag of vLLM's server since 0.2.0, and the ways to find one: by spelling, by setting, by resemblance."""

from functools import cache, lru_cache

from ullage.engines.vllm.flags_features import FEATURE_FLAGS
from ullage.engines.vllm.flags_kinds import PAIR, Flag, Release
from ullage.engines.vllm.flags_memory import MEMORY_FLAGS
from ullage.engines.vllm.flags_model import MODEL_FLAGS
from ullage.engines.vllm.flags_parallel import PARALLEL_FLAGS
from ullage.engines.vllm.flags_server import SERVER_FLAGS
from ullage.frozen import dataclass

FLAGS: tuple[Flag, ...] = (*MODEL_FLAGS, *MEMORY_FLAGS, *PARALLEL_FLAGS, *FEATURE_FLAGS, *SERVER_FLAGS)

ENABLE_DISABLE: Release = (0, 33, 0)  # from here `--disable-x` is another spelling of `--no-enable-x`

_LONGEST = 60  # characters of a name that are compared

# What other engines, and people, call the same thing.
FOREIGN = {
    "attention-heads": "tensor-parallel-size",
    "batch-size": "max-num-seqs",
    "cache-dtype": "kv-cache-dtype",
    "chunked-prefill-size": "max-num-batched-tokens",
    "context": "max-model-len",
    "context-length": "max-model-len",
    "context-size": "max-model-len",
    "ctx-size": "max-model-len",
    "cuda-graph-max-bs": "max-cudagraph-capture-size",
    "dp": "data-parallel-size",
    "dp-size": "data-parallel-size",
    "ep": "enable-expert-parallel",
    "gpu-memory-fraction": "gpu-memory-utilization",
    "gpu-utilization": "gpu-memory-utilization",
    "gpus": "tensor-parallel-size",
    "kv-dtype": "kv-cache-dtype",
    "load-in-low-bit": "quantization",
    "max-batch-size": "max-num-seqs",
    "max-batch-tokens": "max-num-batched-tokens",
    "max-context-length": "max-model-len",
    "max-input-len": "max-model-len",
    "max-length": "max-model-len",
    "max-running-requests": "max-num-seqs",
    "max-seq-len": "max-model-len",
    "max-sequence-length": "max-model-len",
    "max-total-tokens": "max-model-len",
    "mem-fraction-static": "gpu-memory-utilization",
    "memory-utilization": "gpu-memory-utilization",
    "model-path": "model",
    "num-gpus": "tensor-parallel-size",
    "num-shard": "tensor-parallel-size",
    "page-size": "block-size",
    "pp": "pipeline-parallel-size",
    "pp-size": "pipeline-parallel-size",
    "quantize": "quantization",
    "tensor-parallel": "tensor-parallel-size",
    "tp": "tensor-parallel-size",
    "tp-size": "tensor-parallel-size",
    "weight-dtype": "dtype",
}


@dataclass(frozen=True, slots=True)
class Spelling:
    """What one option text means: a flag, and False where it is the flag's opposite."""

    flag: Flag
    positive: bool = True


@cache
def _by_name() -> dict[str, Flag]:
    names = {alias.text.lstrip("-"): flag for flag in FLAGS for alias in flag.aliases if alias.text.startswith("--")}
    return names | {flag.name: flag for flag in FLAGS}


def flag_called(name: str) -> Flag | None:
    """The flag of that name in any release; dashes or underscores, with or without the leading dashes."""
    return _by_name().get(name.lstrip("-").replace("_", "-"))


@cache
def spellings(at: Release) -> dict[str, Spelling]:
    """Every option text a release accepts, written out in full."""
    found: dict[str, Spelling] = {}
    for flag in FLAGS:
        if not flag.is_in(at):
            continue
        texts = (flag.option, *(alias.text for alias in flag.aliases if alias.is_in(at)))
        found |= {text: Spelling(flag) for text in texts}
        if flag.kind_in(at) is PAIR:
            found |= {opposite: Spelling(flag, positive=False) for text in texts for opposite in _opposites(text, at)}
    return found


def _opposites(option: str, at: Release) -> tuple[str, ...]:
    if not option.startswith("--"):
        return ()
    plain = (f"--no-{option[2:]}",)
    if at < ENABLE_DISABLE:
        return plain
    for prefix, inverse in (("--enable-", "--disable-"), ("--disable-", "--enable-")):
        if option.startswith(prefix):
            return (*plain, inverse + option.removeprefix(prefix))
    return plain


_TELLING = 4  # letters that a beginning needs to tell anything


@lru_cache(maxsize=256)
def nearest(name: str, at: Release | None = None) -> tuple[str, ...]:
    """Up to three flag names that resemble ``name``, the likeliest first; only those a release has, when one is given."""
    import difflib  # noqa: PLC0415 - keeps the cold start quick

    bare = name.lstrip("-").replace("_", "-").lower()[:_LONGEST]
    names = [flag.name for flag in FLAGS if at is None or flag.is_in(at)]
    known = [FOREIGN[bare]] if FOREIGN.get(bare) in names else []
    alike = difflib.get_close_matches(bare, names, n=3, cutoff=0.6)
    begun = [known_name for known_name in names if len(bare) >= _TELLING and known_name.startswith(bare)]
    return tuple(dict.fromkeys([*known, *begun, *alike]))[:3]
