"""The flags of llama-server, llama-cli and their kin: spellings, what they take, and the environment variables that stand for them."""

from functools import cache

from ullage.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One flag. ``takes`` is "value", "switch" (its presence is true) or "word" (on, off, auto; older builds took it as a switch)."""

    setting: str
    spellings: tuple[str, ...]  # the first is written
    takes: str = "value"
    opposites: tuple[str, ...] = ()  # what sets a switch to false
    variable: str = ""
    matters: bool = True  # to memory


def _flag(setting: str, spellings: str, takes: str = "value", opposites: str = "", variable: str = "") -> Flag:
    return Flag(
        setting=setting,
        spellings=tuple(spellings.split()),
        takes=takes,
        opposites=tuple(opposites.split()),
        variable=f"LLAMA_ARG_{variable}",
    )


_MEMORY = (
    _flag("ctx_size", "--ctx-size -c", variable="CTX_SIZE"),
    _flag("n_parallel", "--parallel -np", variable="N_PARALLEL"),
    _flag("kv_unified", "--kv-unified -kvu", "switch", "--no-kv-unified -no-kvu", "KV_UNIFIED"),
    _flag("n_gpu_layers", "--n-gpu-layers -ngl --gpu-layers", variable="N_GPU_LAYERS"),
    _flag("split_mode", "--split-mode -sm", variable="SPLIT_MODE"),
    _flag("tensor_split", "--tensor-split -ts", variable="TENSOR_SPLIT"),
    _flag("main_gpu", "--main-gpu -mg", variable="MAIN_GPU"),
    _flag("device", "--device -dev", variable="DEVICE"),
    _flag("cache_type_k", "--cache-type-k -ctk", variable="CACHE_TYPE_K"),
    _flag("cache_type_v", "--cache-type-v -ctv", variable="CACHE_TYPE_V"),
    _flag("batch_size", "--batch-size -b", variable="BATCH"),
    _flag("ubatch_size", "--ubatch-size -ub", variable="UBATCH"),
    _flag("flash_attn", "--flash-attn -fa", "word", "-no-fa --no-flash-attn", "FLASH_ATTN"),
    _flag("swa_full", "--swa-full", "switch", variable="SWA_FULL"),
    _flag("kv_offload", "--kv-offload -kvo", "switch", "--no-kv-offload -nkvo", "KV_OFFLOAD"),
    _flag("op_offload", "--op-offload", "switch", "--no-op-offload", ""),
    _flag("override_tensor", "--override-tensor -ot", variable="OVERRIDE_TENSOR"),
    _flag("cpu_moe", "--cpu-moe -cmoe", "switch", variable="CPU_MOE"),
    _flag("n_cpu_moe", "--n-cpu-moe -ncmoe", variable="N_CPU_MOE"),
    _flag("n_cpu_ffn", "--n-cpu-ffn -ncffn", variable="N_CPU_FFN"),
    _flag("cache_ram", "--cache-ram -cram", variable="CACHE_RAM"),
    _flag("ctx_checkpoints", "--ctx-checkpoints -ctxcp --swa-checkpoints", variable="CTX_CHECKPOINTS"),
    _flag("fit", "--fit -fit", "word", variable="FIT"),
    _flag("fit_target", "--fit-target -fitt", variable="FIT_TARGET"),
    _flag("fit_ctx", "--fit-ctx -fitc", variable="FIT_CTX"),
    _flag("load_mode", "--load-mode -lm", variable="LOAD_MODE"),
    _flag("repack", "--repack", "switch", "--no-repack -nr", "REPACK"),
    _flag("embedding", "--embedding --embeddings", "switch", variable="EMBEDDINGS"),
    _flag("mmproj", "--mmproj -mm", variable="MMPROJ"),
    _flag("spec_draft_n_max", "--spec-draft-n-max --draft-max --draft --draft-n", variable="DRAFT_MAX"),
    _flag("mla_attn", "-mla --mla-use"),
    _flag("attn_max_batch", "-amb --attention-max-batch"),
)
MODEL = Flag(setting="model", spellings=("--model", "-m"), variable="LLAMA_ARG_MODEL", matters=False)
HUB = Flag(setting="hf_repo", spellings=("-hf", "-hfr", "--hf-repo"), variable="LLAMA_ARG_HF_REPO", matters=False)
HUB_FILE = Flag(setting="hf_file", spellings=("-hff", "--hf-file"), variable="LLAMA_ARG_HF_FILE", matters=False)
_VALUES = """
    host port alias api-key api-key-file threads threads-batch timeout threads-http chat-template chat-template-file chat-template-kwargs
    reasoning-format reasoning reasoning-budget reasoning-effort temp top-k top-p min-p seed predict n-predict repeat-penalty repeat-last-n
    presence-penalty frequency-penalty rope-scaling rope-scale rope-freq-base rope-freq-scale yarn-orig-ctx yarn-ext-factor yarn-attn-factor
    yarn-beta-slow yarn-beta-fast pooling slot-save-path slot-prompt-similarity cache-reuse lora lora-scaled numa prio poll cpu-mask keep
    override-kv log-file verbosity log-verbosity defrag-thold grammar grammar-file json-schema json-schema-file prompt file path rpc
    mmproj-url model-url model-draft hf-repo-draft ctx-size-draft gpu-layers-draft n-gpu-layers-draft device-draft spec-type draft-min
    draft-p-min cache-type-k-draft cache-type-v-draft samplers sampling-seq mirostat mirostat-lr mirostat-ent logit-bias
    checkpoint-min-step kv-unified-per-slot image-min-tokens image-max-tokens models-dir models-max models-preset hf-token tags lazy-mode
    system-prompt system-prompt-file reverse-prompt dry-multiplier xtc-probability typical sleep-idle-seconds group-attn-n group-attn-w
    ssl-key-file ssl-cert-file api-prefix spec-draft-model spec-draft-ngl spec-draft-hf
"""
_SWITCHES = """
    metrics slots no-slots props jinja no-jinja cont-batching no-cont-batching mlock no-mmap mmap no-warmup warmup verbose log-disable
    log-prefix log-timestamps log-jsonl offline context-shift no-context-shift cache-prompt no-cache-prompt no-webui webui reranking rerank
    no-mmproj mmproj-auto no-mmproj-auto no-mmproj-offload no-perf perf special ignore-eos escape no-escape conversation no-conversation
    single-turn interactive interactive-first simple-io color no-display-prompt multiline-input cache-idle-slots no-cache-idle-slots
    no-host check-tensors fused-moe run-time-repack smart-expert-reduction direct-io no-direct-io version help list-devices
"""
_SHORT = {
    "threads": "-t",
    "threads-batch": "-tb",
    "alias": "-a",
    "predict": "-n",
    "seed": "-s",
    "prompt": "-p",
    "file": "-f",
    "model-draft": "-md",
    "model-url": "-mu",
    "verbosity": "-lv",
    "verbose": "-v",
    "cont-batching": "-cb",
    "no-cont-batching": "-nocb",
    "slot-prompt-similarity": "-sps",
    "timeout": "-to",
    "gpu-layers-draft": "-ngld",
    "ctx-size-draft": "-cd",
    "conversation": "-cnv",
    "no-conversation": "-no-cnv",
    "single-turn": "-st",
    "interactive": "-i",
    "escape": "-e",
    "fused-moe": "-fmoe",
    "run-time-repack": "-rtr",
    "smart-expert-reduction": "-ser",
    "reverse-prompt": "-r",
    "chat-template": "--chat_template",
    "defrag-thold": "-dt",
    "help": "-h",
    "no-mmap": "--no_mmap",
}


def _others() -> tuple[Flag, ...]:
    found = []
    for text, takes in ((_VALUES, "value"), (_SWITCHES, "switch")):
        for name in text.split():
            spellings = (f"--{name}", *((_SHORT[name],) if name in _SHORT else ()))
            found.append(Flag(setting=name.replace("-", "_"), spellings=spellings, takes=takes, matters=False))
    return tuple(found)


# All that says how much the engine prints, ours to keep where somebody wrote one.
VERBOSITY = (
    *("-lv", "--verbosity", "--log-verbosity", "-v", "--verbose", "--log-verbose", "--log-disable"),
    *("LLAMA_ARG_LOG_VERBOSITY", "LLAMA_LOG_VERBOSITY"),
)
FLAGS: tuple[Flag, ...] = (*_MEMORY, MODEL, HUB, HUB_FILE, *_others())
# Flags that are gone, and what stands for them.
STALE = {
    "--n-gpu-layers-main": "--n-gpu-layers",
    "--no-kv-cache-offload": "--no-kv-offload",
    "--memory-f32": "--cache-type-k f32 --cache-type-v f32",
    "--cache-type": "--cache-type-k and --cache-type-v",
    "--max-model-len": "--ctx-size",
    "--tensor-parallel-size": "--split-mode row",
    "--gpu-memory-utilization": "--fit-target (MiB to leave free)",
    "--num-ctx": "--ctx-size",
}


@cache
def spellings() -> dict[str, tuple[Flag, bool]]:
    """Every spelling with its flag and whether it is the switch's own sense."""
    found = {}
    for flag in FLAGS:
        found.update(dict.fromkeys(flag.spellings, (flag, True)))
        found.update(dict.fromkeys(flag.opposites, (flag, False)))
    return found


@cache
def by_setting() -> dict[str, Flag]:
    """The flag of a setting."""
    return {flag.setting: flag for flag in FLAGS}


@cache
def by_variable() -> dict[str, Flag]:
    """The flag that an environment variable stands for."""
    return {flag.variable: flag for flag in FLAGS if flag.variable not in {"", "LLAMA_ARG_"}}
