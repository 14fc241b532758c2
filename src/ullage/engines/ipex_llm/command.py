"""Write the command that starts a case: the fork's server, or the script for ``generate``."""

from ullage.domain.case import Case, Value
from ullage.domain.plan import Command
from ullage.engines.ipex_llm.flags import COUNTED, SWITCHES, option
from ullage.engines.ipex_llm.launch import BIGDL_SERVER, ONE_SERVER, SCRIPT, SERVER, script_text
from ullage.engines.ipex_llm.resolve import is_served, on_cpu
from ullage.engines.ipex_llm.versions import rules

_SERVED = (
    "dtype",
    "load_in_low_bit",
    "gpu_memory_utilization",
    *sorted(COUNTED),
    "kv_cache_dtype",
    "swap_space",
    "enable_chunked_prefill",
    "enforce_eager",
)
# What the server inside BigDL-LLM, vLLM 0.2.1 for one device, has no option for.
_NOT_IN_BIGDL = frozenset({"enforce_eager", "enable_chunked_prefill", "kv_cache_dtype", "num_gpu_blocks_override"})
_GENERATED = ("load_in_low_bit", "dtype", "kv_cache_dtype", "embedding_qtype", "cpu_embedding", "mixed_precision")
LOCAL = "127.0.0.1"


def command(case: Case) -> Command:
    """Everything that matters is said, so that no default has to be known to read it."""
    return _server(case) if is_served(case) else _script(case)


def _server(case: Case) -> Command:
    device, known = ("cpu" if on_cpu(case) else "xpu"), rules(case)
    module = BIGDL_SERVER if known.bigdl else SERVER.format(device=device) if known.divided else ONE_SERVER
    words = ["python", "-m", module, "--model", case.model.argument, "--device", device]
    words += _words(case, tuple(name for name in _SERVED if not (known.bigdl and name in _NOT_IN_BIGDL)))
    for name, degree in (("tensor_parallel_size", case.parallel.tensor), ("pipeline_parallel_size", case.parallel.pipeline)):
        words += [option(name), str(degree)] if degree > 1 else []
    words += ["--distributed-executor-backend", "ray"] if case.parallel.devices > 1 and known.names_executor else []
    words += ["--host", LOCAL]
    return Command(argv=tuple(words), environment=_environment(case))


def _script(case: Case) -> Command:
    context, prompt = case.workload.context_tokens or 1, case.workload.prompt_tokens or 1
    words = ["python", SCRIPT, "--model", case.model.argument, "--device", "cpu" if on_cpu(case) else "xpu", *_words(case, _GENERATED)]
    words += ["--context", str(context)]
    words += ["--max-new-tokens", str(context - prompt)] if context - prompt > 1 or "max_new_tokens" in case.stated else []
    words += ["--concurrency", str(case.workload.concurrent_sequences)]
    if case.parallel.pipeline > 1:
        words += [option("pipeline_parallel_size"), str(case.parallel.pipeline)]
    return Command(argv=tuple(words), environment=_environment(case), files=((SCRIPT, script_text(bigdl=rules(case).bigdl)),))


def _words(case: Case, names: tuple[str, ...]) -> list[str]:
    found: list[str] = []
    for name in names:
        value = case.settings.get(name)
        if value is None or (name in SWITCHES and not value):
            continue
        found += [option(name)] if name in SWITCHES else [option(name), _shown(value)]
    return found


def _shown(value: Value) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _environment(case: Case) -> tuple[tuple[str, str], ...]:
    """What was given; one V0 engine where a fork has two; the 8-bit cache of ``generate`` as the library is told."""
    given = dict(case.environment)
    if is_served(case):
        needed = {"VLLM_USE_V1": "0"} if rules(case).fork == "0.8.3" else {}
        needed |= {"VLLM_WORKER_MULTIPROC_METHOD": "spawn"} if case.parallel.devices > 1 else {}
    else:
        needed = {"IPEX_LLM_QUANTIZE_KV_CACHE": "1" if case.settings.text("kv_cache_dtype") == "fp8" else "0"}
    return tuple({**needed, **given}.items())
