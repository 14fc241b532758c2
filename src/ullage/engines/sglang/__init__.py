"""SGLang 0.4 to 0.5.23."""

from collections.abc import Mapping

from ullage.domain.case import Value, Version
from ullage.domain.engine import Engine, Extra, Knob, Profile, Request, Server
from ullage.domain.facts import Fact
from ullage.engines.sglang.capacity import capacity
from ullage.engines.sglang.command import command
from ullage.engines.sglang.ledger import ledger
from ullage.engines.sglang.levers import layouts, levers
from ullage.engines.sglang.notes import notes
from ullage.engines.sglang.objections import objections
from ullage.engines.sglang.resolve import resolve
from ullage.engines.sglang.versions import CONSTANTS, DEFAULT, NEWEST, OLDEST

_KNOBS = (
    Knob(
        name="mem_fraction_static",
        meaning="share of the memory free before loading for weights and pools; activations, graphs and the request table need the rest",
        default="by card, ranks, chunk and graphs; the rule changed with 0.4.5, 0.4.8, 0.5.3 and 0.5.16",
    ),
    Knob(name="context_length", meaning="longest sequence; a row of the request table is as long", default="what the configuration allows"),
    Knob(name="max_total_tokens", meaning="most tokens of the pool", default="what the fraction leaves"),
    Knob(
        name="max_running_requests",
        meaning="requests at once, rows of the request table on the device",
        default="512 whole lengths of the pool, within 2048 to 4096; 48 with speculation",
    ),
    Knob(
        name="chunked_prefill_size",
        meaning="tokens of a prefill step; -1 runs prompts whole",
        default="2048 below 35 GiB (4096 from 20 GiB since 0.5.20), 4096 below 60, 8192 below 160, 16384 above",
    ),
    Knob(name="cuda_graph_max_bs", meaning="largest captured batch", default="8 to 512 by card and tensor parallelism"),
    Knob(name="disable_cuda_graph", meaning="no CUDA graphs", default="false"),
    Knob(name="kv_cache_dtype", meaning="format of keys and values", default="auto: the model's dtype"),
    Knob(name="page_size", meaning="tokens of a page", default="1; 64 for TensorRT-LLM kernels and sparse latents"),
    Knob(name="attention_backend", meaning="attention kernels", default="FlashAttention 3 on Hopper, else FlashInfer or Triton"),
    Knob(name="swa_full_tokens_ratio", meaning="tokens of the window pool per token of the full one", default="0.8; 0.1 for DeepSeek V4"),
    Knob(name="mamba_full_memory_ratio", meaning="recurrent state per byte of keys and values", default="0.9 (0.5.4 on)"),
    Knob(name="max_mamba_cache_size", meaning="slots of recurrent state", default="by mamba_full_memory_ratio; before 0.5.4: 512"),
    Knob(name="enable_dp_attention", meaning="attention data-parallel inside the tensor-parallel ranks", default="false"),
    Knob(name="speculative_algorithm", meaning="draft model; counted inside the fraction since 0.5.14", default="none"),
    Knob(name="cpu_offload_gb", meaning="weights kept on the host, GiB per device", default="0"),
    Knob(name="hicache_ratio", meaning="host tier of the cache by the size of the pool", default="2, with enable_hierarchical_cache"),
)


def read_command(argv: tuple[str, ...], environment: Mapping[str, str], version: Version | None) -> Request | None:
    """As ``read_command.read_command``; imported on first use, as a plan needs none of it."""
    from ullage.engines.sglang.read_command import read_command as read  # noqa: PLC0415 - keeps the cold start of a plan low

    return read(argv, environment, version)


def read_log_line(line: str) -> Fact | None:
    """As ``log.read_log_line``; imported on first use."""
    from ullage.engines.sglang.log import read_log_line as read  # noqa: PLC0415 - as above

    return read(line)


def read_metrics(page: str) -> tuple[Fact, ...]:
    """As ``metrics.read_metrics``; imported on first use."""
    from ullage.engines.sglang.metrics import read_metrics as read  # noqa: PLC0415 - as above

    return read(page)


def validate(name: str, value: Value) -> Value:
    """As ``flags.validate``; imported on first use."""
    from ullage.engines.sglang.flags import validate as typed  # noqa: PLC0415 - as above

    return typed(name, value)


ENGINE = Engine(
    profile=Profile(
        name="sglang",
        title="SGLang",
        oldest=OLDEST,
        newest=NEWEST,
        default=DEFAULT,
        knobs=_KNOBS,
        constants=CONSTANTS,
        device_kinds=frozenset({"cuda", "rocm"}),
        package="sglang[all]",
        distributions=("sglang",),
        length_setting="context_length",
        servers=(Server(port=30000, behind=(Extra(words=("--enable-metrics",)),), images=(("cuda", "lmsysorg/sglang:v{version}"),)),),
    ),
    resolve=resolve,
    objections=objections,
    ledger=ledger,
    capacity=capacity,
    levers=levers,
    layouts=layouts,
    command=command,
    read_command=read_command,
    read_log_line=read_log_line,
    read_metrics=read_metrics,
    notes=notes,
    validate=validate,
)
