"""What to run, in the spelling of the release: three classic front doors, and the server of the SGLang fork."""

from ullage.domain.case import Case, Value
from ullage.domain.plan import Command
from ullage.engines.ktransformers.resolve import BALANCE_SERVE, LOCAL_CHAT, prompt_of
from ullage.engines.ktransformers.rules_file import RULES_FILE, rules_text, wants_rules
from ullage.engines.ktransformers.versions import Product, classic_rules, product

PORT = ("--port", "10002")
ARGS_MODULE = "ktransformers.server.backend.args"
# The flags of the fork, in the order they are written, by setting.
KERNEL_FLAGS = {
    name: f"--{name.replace('_', '-')}"
    for name in (
        "kt_weight_path",
        "kt_method",
        "kt_num_gpu_experts",
        "kt_gpu_experts_ratio",
        "kt_cpuinfer",
        "kt_threadpool_count",
        "kt_max_deferred_experts_per_token",
        "kt_gpu_prefill_token_threshold",
        "kt_expert_placement_strategy",
        "kt_enable_dynamic_expert_update",
        "mem_fraction_static",
        "context_length",
        "chunked_prefill_size",
        "max_total_tokens",
        "max_running_requests",
        "cuda_graph_max_bs",
        "disable_cuda_graph",
        "kv_cache_dtype",
        "page_size",
    )
}
_USUAL: dict[str, Value] = {"kv_cache_dtype": "auto", "page_size": 1, "disable_cuda_graph": False}


def command(case: Case) -> Command:
    """The command of a case, with the YAML rules where the release's own do not say the same."""
    if product(case) is Product.KT_KERNEL:
        return _kernel(case)
    files = ((RULES_FILE, rules_text(case)),) if wants_rules(case) else ()
    environment = (("USE_NUMA", "1"),) if case.settings.flag("use_numa") else ()
    return Command(argv=_classic(case), environment=environment, files=files)


def gguf_folder(case: Case) -> str:
    """Where the experts' GGUF files are taken from; the last folder says the type, as published ones do."""
    said, scheme = case.settings.text("gguf_type"), case.model.checkpoint.scheme
    word = said or (scheme.removeprefix("gguf ") if scheme.startswith("gguf ") else "")
    return f"./{case.model.argument.rsplit('/', 1)[-1]}-GGUF" + (f"/{word.upper()}" if word else "")


def _classic(case: Case) -> tuple[str, ...]:
    rule, said = classic_rules(case.version.parts), case.settings
    paths = ("--model_path", case.model.argument, "--gguf_path", gguf_folder(case))
    eager = case.settings.flag("use_cuda_graph") is False
    threads: tuple[str, ...] = ("--cpu_infer", str(said.integer("cpu_infer"))) if said.has("cpu_infer") else ()
    chunk = (f"--{rule.chunk_setting}", str(said.integer("chunk_size"))) if rule.chunk_setting else ()
    new = ("--max_new_tokens", str(said.integer("max_new_tokens")))
    if eager and (rule.cache_flag or said.text("backend_type") == LOCAL_CHAT):
        threads = (*threads, *(("--use_cuda_graph", "False") if said.text("backend_type") == LOCAL_CHAT else ("--no-use_cuda_graph",)))
    if said.text("backend_type") == LOCAL_CHAT:
        flag = "--optimize_config_path" if rule.chunk_setting else "--optimize_rule_path"
        answer = max(1, (case.workload.context_tokens or 1) - prompt_of(case))
        new = ("--max_new_tokens", str(said.integer("max_new_tokens") or answer))
        rules = (flag, RULES_FILE) if wants_rules(case) else ()
        return ("python", "-m", "ktransformers.local_chat", *paths, *rules, *threads, *new, *chunk)
    rules = ("--optimize_config_path", RULES_FILE) if wants_rules(case) else ()
    if not rule.cache_flag:
        return ("python", "-c", _start(case), *paths, *rules, *threads, *PORT)
    lengths: tuple[str, ...] = ("--cache_lens", str(said.integer("cache_lens")), *new)
    if rule.response_tokens is not None:
        lengths = (*lengths, "--max_response_tokens", str(said.integer("max_response_tokens")))
    serve: tuple[str, ...] = ()
    if said.text("backend_type") == BALANCE_SERVE:
        counts = ("--max_batch_size", str(said.integer("max_batch_size")), "--page_size", str(said.integer("page_size")))
        serve = ("--backend_type", BALANCE_SERVE, *counts)
    return ("ktransformers", *paths, *rules, *threads, *PORT, *lengths, *chunk, *serve)


def _start(case: Case) -> str:
    """0.1 has no flag for lengths: the defaults of args.py are set before its server starts."""
    names = ("cache_lens", "max_new_tokens", "max_response_tokens")
    said = "; ".join(f"a.{name} = {case.settings.integer(name)}" for name in names)
    return f"from {ARGS_MODULE} import default_args as a; {said}; from ktransformers.server.main import main; main()"


def _kernel(case: Case) -> Command:
    argv = ["python", "-m", "sglang.launch_server", "--host", "127.0.0.1", "--port", "30000", "--model", case.model.argument]
    reads_gguf = case.settings.text("kt_method") == "LLAMAFILE"
    values = {"kt_weight_path": gguf_folder(case) if reads_gguf else case.model.argument, **dict(case.settings.items)}
    for name, flag in KERNEL_FLAGS.items():
        value = values.get(name)
        if value is None or value == _USUAL.get(name):
            continue
        argv += [flag] if value is True else [] if value is False else [flag, f"{value:g}" if isinstance(value, float) else str(value)]
    if case.parallel.tensor > 1:
        argv += ["--tensor-parallel-size", str(case.parallel.tensor)]
    return Command(argv=tuple(argv))
