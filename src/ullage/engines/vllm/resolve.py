"""Every default that matters to memory, filled in by version, device and model, so that all other files read a complete case."""

from functools import lru_cache

from ullage.domain.architecture import LatentAttention, Layer
from ullage.domain.case import Case, Model, Settings, Value
from ullage.engines.vllm import processor
from ullage.engines.vllm.versions import Core, Rules, core_of, rules_for
from ullage.frozen import replace
from ullage.units import GiB

LONGEST_UNSTATED = 2048  # what vLLM takes for a model whose configuration sets no length
SMALL_CARDS_DIFFER = (0, 8, 5)  # before, V1 took as many sequences on every card
ROOMY_BYTES, HUGE_BYTES = 70 * GiB, 160 * GiB


def capability(case: Case) -> tuple[int, int] | None:
    """Compute capability of the first device, None when it is not known."""
    return case.machine.devices[0].compute_capability if case.machine.devices else None


def rules(case: Case) -> Rules:
    """The rules of this case's release."""
    return rules_for(case.version.parts, core_of(case), capability(case))


_LINKED = ("a100", "a800", "h100", "h200", "h20", "h800", "gh200", "b200", "gb200", "b300", "gb300", "v100", "mi300", "mi325", "mi355")


def is_linked(case: Case) -> bool:
    """Whether the devices are of a kind that servers join by NVLink or its like; workstation and consumer cards are not."""
    name = case.machine.devices[0].name.lower() if case.machine.devices else ""
    return any(word in name for word in _LINKED)


@lru_cache(maxsize=512)
def kinds_of_layers(model: Model) -> tuple[Layer, ...]:
    """Each kind of layer once."""
    return tuple(dict.fromkeys(model.architecture.layers))


def activation_dtype(case: Case) -> str:
    """The dtype of activations and unquantised weights: as said, else the model's own, a float32 model being run in 16 bits."""
    said = case.settings.text("dtype")
    if said in {None, "auto"}:
        own = case.model.architecture.dtype
        return "bfloat16" if own == "float32" else own
    return {"half": "float16", "float": "float32"}.get(str(said), str(said))


def resolve(case: Case) -> Case:
    """The same case with every unset setting that matters to memory set as this release would set it. Raises UnsupportedModelError."""
    processor.check_release(case)
    return replace(case, settings=Settings.of({**defaults(case), **dict(_said(case.settings))}))


def _said(settings: Settings) -> tuple[tuple[str, Value], ...]:
    automatic = {"max_model_len": {-1, "auto"}, "block_size": set(), "dtype": set()}
    return tuple((name, value) for name, value in settings.items if value is not None and value not in automatic.get(name, ()))


def defaults(case: Case) -> dict[str, Value]:
    """The settings this release takes where nobody said anything, given what was said."""
    rule, said = rules(case), case.settings
    dual = case.model.architecture.dual_chunk is not None
    length = model_length(case)
    chunked = said.flag("enable_chunked_prefill")
    if chunked is None:
        chunked = rule.core is Core.V1 or (rule.chunked_above is not None and length > rule.chunked_above and _may_chunk(case, rule))
    sequences = said.integer("max_num_seqs") or _sequences(case, rule)
    tokens = said.integer("max_num_batched_tokens") or _batched_tokens(case, rule, length, sequences, chunked=chunked)
    found: dict[str, Value] = {
        "gpu_memory_utilization": rule.utilization,
        "max_model_len": length,
        "max_num_seqs": min(sequences, tokens),
        "max_num_batched_tokens": tokens,
        "block_size": _block_tokens(case),
        "kv_cache_dtype": "auto",
        "dtype": "auto",
        "enforce_eager": dual,
        "enable_chunked_prefill": chunked,
        "tensor_parallel_size": case.parallel.tensor,
        "pipeline_parallel_size": case.parallel.pipeline,
    }
    if rule.core is Core.V0:
        found["swap_space"] = rule.swap_default_gib
    return found


def model_length(case: Case) -> int:
    """What ``max_model_len`` will be: as said, else the context asked for, else what the configuration allows.

    ``-1`` and ``auto`` start from the configuration's length.
    """
    said = case.settings.integer("max_model_len")
    if said is not None and said > 0:
        return said
    if case.workload.context_tokens is not None and not case.settings.has("max_model_len"):
        return case.workload.context_tokens
    return case.model.architecture.max_context_tokens or LONGEST_UNSTATED


def _may_chunk(case: Case, rule: Rules) -> bool:
    """V0 never chunks on its own for encoders, for models that see, and for MLA that keeps latents."""
    architecture = case.model.architecture
    if not architecture.is_decoder or architecture.encoder_tokens:
        return False
    return not (rule.latent_cache and any(isinstance(mixer, LatentAttention) for layer in architecture.layers for mixer in layer.mixers))


def _sequences(case: Case, rule: Rules) -> int:
    if processor.on_processor(case):
        return processor.SEQUENCES * processor.world(case)
    if rule.core is Core.V0:
        return 256
    return 1024 if _is_roomy(case) or case.version.parts < SMALL_CARDS_DIFFER else 256


def _is_roomy(case: Case) -> bool:
    """Cards of 70 GiB and more, but not the A100 since 0.9."""
    device = case.machine.devices[0]
    is_a100 = "a100" in device.name.lower() and case.version.parts >= (0, 9)
    return device.total_bytes >= ROOMY_BYTES and not is_a100


def _batched_tokens(case: Case, rule: Rules, length: int, sequences: int, *, chunked: bool) -> int:
    if rule.core is Core.V0:
        return rule.chunked_default_tokens if chunked else max(length, 2048)
    if processor.on_processor(case) and processor.plain_latents(case):
        return max(length, processor.TOKENS)
    if processor.on_processor(case):
        tokens = processor.TOKENS * processor.world(case)
    elif _is_roomy(case):
        huge = case.machine.devices[0].total_bytes >= HUGE_BYTES and case.version.parts >= (0, 28)
        tokens = 16384 if huge else 8192
    else:
        tokens = 2048
    return min(tokens, sequences * length) if chunked else max(length, tokens)


def _block_tokens(case: Case) -> int:
    """16 on CUDA unless the attention backend of MLA asks otherwise."""
    if processor.on_processor(case):
        return processor.block_tokens(case)
    latent = [mixer for layer in case.model.architecture.layers for mixer in layer.mixers if isinstance(mixer, LatentAttention)]
    able, at = capability(case), case.version.parts
    if not latent or not rules(case).latent_cache or able is None or able < (9, 0):
        return 16
    if any(mixer.indexer is not None for mixer in latent):
        return 64  # the sparse backends
    if able >= (12, 0):
        return 16 if at >= (0, 20) else 64
    if able >= (10, 0):
        return 32 if at >= (0, 19) else 128  # FlashInfer's MLA, before it CUTLASS's
    return 16 if at >= (0, 19) else 64  # FlashAttention's MLA, before it FlashMLA
