"""The words that closed flags of vLLM accept, with the first and last release of each."""

from ullage.engines.vllm.flags_kinds import Release, release

_DTYPES = ("auto", "half", "float16", "bfloat16", "float", "float32")
_STATE_DTYPES = ("auto 0.10.1", "float32 0.10.1", "float16 0.13.0", "bfloat16 0.22.0")

# "word first last"; no last: still accepted. From ``_OPEN_SINCE`` on the flag itself takes any word.
_CHOICES: dict[str, tuple[str, ...]] = {
    "block_size": (
        *("8 0.2.0", "16 0.2.0", "32 0.2.0", "64 0.6.4 0.6.4", "64 0.6.6", "1 0.8.5", "256 0.5.5 0.5.5", "256 0.11.1"),
        *("128 0.3.3 0.4.0", "128 0.5.5 0.5.5", "128 0.6.4 0.6.4", "128 0.6.6", "512 0.5.5 0.5.5", "1024 0.5.5 0.5.5", "2048 0.5.5 0.5.5"),
    ),
    "convert": ("auto 0.10.1", "none 0.10.1", "embed 0.10.1", "classify 0.10.1", "reward 0.10.1 0.15.0", "mm_encoder_only 0.14.0 0.15.0"),
    "distributed_executor_backend": ("ray 0.4.3", "mp 0.4.3", "uni 0.7.0", "external_launcher 0.7.0"),
    "dtype": tuple(f"{word} 0.2.0" for word in _DTYPES),
    "kv_cache_dtype": (
        *("auto 0.3.0", "fp8_e5m2 0.3.0 0.4.0", "fp8_e5m2 0.4.3", "fp8 0.4.1", "fp8_e4m3 0.4.3", "fp8_inc 0.10.0", "bfloat16 0.11.0"),
        *("fp8_ds_mla 0.11.1", "float16 0.18.0", "turboquant_k8v4 0.20.0", "turboquant_4bit_nc 0.20.0", "turboquant_k3v4_nc 0.20.0"),
        *("turboquant_3bit_nc 0.20.0", "int8_per_token_head 0.20.0", "fp8_per_token_head 0.20.0", "nvfp4 0.20.0"),
        *("int4_per_token_head 0.25.0", "nvfp4_4over6 0.28.0", "nvfp4_ds_mla 0.30.0", "ultraquant_4bit 0.32.0"),
        *("octave_k3v4 0.33.0", "octave_k3v3 0.33.0", "octave_k3v3_compact 0.33.0"),
    ),
    "kv_offloading_backend": ("native 0.11.1", "lmcache 0.11.1"),
    "load_format": (
        *("auto 0.2.0", "pt 0.2.0", "safetensors 0.2.0", "npcache 0.2.0", "dummy 0.2.0", "tensorizer 0.4.1", "bitsandbytes 0.5.0"),
    ),
    "mamba_cache_dtype": _STATE_DTYPES,
    "mamba_cache_mode": ("all 0.15.0 0.31.0", "align 0.15.0", "none 0.15.0"),
    "mamba_ssm_cache_dtype": _STATE_DTYPES,
    "mm_encoder_tp_mode": ("weights 0.10.2", "data 0.10.2"),
    "offload_backend": ("auto 0.17.0", "uva 0.17.0", "prefetch 0.17.0"),
    "optimization_level": ("0 0.12.0", "1 0.12.0", "2 0.12.0", "3 0.12.0"),
    "performance_mode": ("balanced 0.17.0", "interactivity 0.17.0", "throughput 0.17.0"),
    "runner": ("auto 0.10.1", "generate 0.10.1", "pooling 0.10.1", "draft 0.10.1"),
    "scheduling_policy": ("fcfs 0.6.3", "priority 0.6.3"),
}
_OPEN_SINCE = {"block_size": "0.18.0", "distributed_executor_backend": "0.8.4", "load_format": "0.5.5"}


def choices(setting: str, at: Release | None) -> tuple[str, ...]:
    """The words a setting accepts in a release, or in any release when none is given; () where every word is accepted."""
    rows = _CHOICES.get(setting, ())
    if setting in _OPEN_SINCE and (at is None or at >= release(_OPEN_SINCE[setting])):
        return ()
    return tuple(dict.fromkeys(text.split()[0] for text in rows if at is None or _is_in(text, at)))


def _is_in(text: str, at: Release) -> bool:
    _, first, *last = text.split()
    return release(first) <= at and (not last or at <= release(last[0]))


def since(setting: str, word: str) -> str:
    """The first release in which a setting accepts a word, or an empty text."""
    return next((text.split()[1] for text in _CHOICES.get(setting, ()) if text.split()[0] == word), "")
