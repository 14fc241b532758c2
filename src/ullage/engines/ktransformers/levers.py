"""What can be changed, what it relieves and what it costs; and the devices a model can be spread over."""

from collections.abc import Iterator

from ullage.domain.case import Case, Value
from ullage.domain.placement import Parallel
from ullage.domain.plan import Lever, Limit
from ullage.engines.ktransformers.classic_cache import cache_bytes, cache_tokens
from ullage.engines.ktransformers.classic_prefill import is_absorbed, prompt_tokens, step_tokens
from ullage.engines.ktransformers.kernel_weights import gpu_experts
from ullage.engines.ktransformers.placement import parts, spans
from ullage.engines.ktransformers.resolve import LOCAL_CHAT, context_of, is_latent, longest, prompt_of
from ullage.engines.ktransformers.versions import Product, classic_rules, product
from ullage.formulas.placement import balanced

CACHE, WORKSPACE, WEIGHTS, HOST, START = Limit.CACHE, Limit.WORKSPACE, Limit.WEIGHTS, Limit.HOST, Limit.START
_GPU = frozenset({CACHE, WORKSPACE, WEIGHTS})
_LENGTHS = (8192, 16384, 32768, 65536, 131072)
_SHORTEST = 512
_GGUF_TYPES = ("q8_0", "q6_k", "q4_k_m", "q3_k", "q2_k")
_EXPANDED_SINCE = "0.2.4"  # flash attention, and prompts in pieces of 256


def layouts(case: Case) -> tuple[Parallel, ...]:
    """Fewest devices first: whole layers with the classic server, cut tensors with kt-kernel."""
    there = len(case.machine.devices)
    if product(case) is Product.CLASSIC:
        return tuple(Parallel(pipeline=count) for count in range(1, there + 1))
    return tuple(Parallel(tensor=count) for count in (1, 2, 4, 8, 16) if count <= there)


def levers(case: Case) -> tuple[Lever, ...]:
    """Every lever of this release for this case."""
    if product(case) is Product.CLASSIC:
        return (*_prompt(case), *_length(case), *_weights(case), *_host(case), *_devices(case, "pipeline"))
    return (*_experts(case), *_fraction(case), *_steps(case), *_load(case), *_kernel_host(case), *_devices(case, "tensor"))


def _smaller(values: tuple[int, ...], now: int) -> tuple[Value, ...]:
    return tuple(value for value in values if value < now)


def _halves(count: int, least: int) -> tuple[Value, ...]:
    found: list[Value] = []
    while count // 2 >= least:
        count //= 2
        found.append(count)
    return tuple(found)


def _prompt(case: Case) -> Iterator[Lever]:
    rule = classic_rules(case.version.parts)
    if is_absorbed(case):
        now = case.settings.integer("chunk_size") or rule.score_rows
        smaller = _smaller((256, 128, 64), min(now, prompt_tokens(case)))
        if rule.score_rows_settable and smaller:  # offered and never taken unasked, as no flag says it
            cost = "a slower prompt: the YAML keyword chunck_size of attention makes more and smaller products"
            yield Lever(setting="chunk_size", values=smaller, relieves=frozenset({WORKSPACE}), cost=cost, cost_rank=1)
        cost = "another release: flash attention makes no score matrix"
        yield Lever(setting="engine_version", values=(_EXPANDED_SINCE,), relieves=frozenset({WORKSPACE}), cost=cost, cost_rank=2)
        return
    smaller = _smaller((4096, 2048, 1024, 512, 256), step_tokens(case)) if rule.chunk_setting else ()
    if smaller:
        cost = "a slower prompt"
        yield Lever(setting="chunk_size", values=smaller, relieves=frozenset({WORKSPACE}), cost=cost, cost_rank=1, searched=smaller[-1:])
    if rule.absorb_setting and is_latent(case) and not case.settings.flag("absorb_for_prefill"):
        cost = "a slower prompt: attention runs on the latent"
        yield Lever(setting="absorb_for_prefill", values=(True,), relieves=frozenset({WORKSPACE}), cost=cost, cost_rank=1)


def _length(case: Case) -> Iterator[Lever]:
    grows, context, cache = frozenset({CACHE, WORKSPACE}), context_of(case), cache_tokens(case)
    if case.settings.text("backend_type") != LOCAL_CHAT:
        need = -(-context // 256) * 256
        if context > cache:
            cost = "a longer static cache"
            yield Lever(setting="cache_lens", values=(need,), relieves=frozenset({CACHE}), cost=cost, cost_rank=0)
        longer = () if "context" in case.stated else tuple(n for n in _LENGTHS if cache < n <= longest(case))
        shorter = _halves(cache, _SHORTEST) if context >= cache else ()
        cost = "shorter sequences"
        yield Lever(setting="cache_lens", values=shorter, relieves=grows, cost=cost, cost_rank=2, searched=longer)
    if _halves(context, _SHORTEST):
        yield Lever(setting="context", values=_halves(context, _SHORTEST), relieves=grows, cost="shorter sequences", cost_rank=2)


def _weights(case: Case) -> Iterator[Lever]:
    if case.settings.text("generate_op") != "KLinearMarlin":
        cost = "4-bit linears outside the experts"
        yield Lever(setting="generate_op", values=("KLinearMarlin",), relieves=_GPU, cost=cost, cost_rank=3)
    if len(case.devices) > 1:
        better = _even_bytes(case)
        if better is not None:
            yield Lever(setting="transfer_map", values=(better,), relieves=_GPU, cost="none: layers move to emptier GPUs", cost_rank=0)


def _even_bytes(case: Case) -> str | None:
    """The layer split whose fullest GPU is emptiest, where it is another than the present one."""
    found, tokens = parts(case), cache_tokens(case)
    count = len(found.layers)

    def load(_device: int, first: int, end: int) -> int:
        return sum(found.layers[first:end]) + cache_bytes(case, first, end, tokens) + (found.tail if end == count > first else 0)

    split = balanced(count, [device.total_bytes - device.reserved_bytes for device in case.devices], load)
    if split == spans(case) or any(first == end for first, end in split):
        return None
    return ",".join(str(first) for first, _ in split[1:])


def _host(case: Case) -> Iterator[Lever]:
    cost = "experts in fewer bits"
    yield Lever(setting="gguf_type", values=_GGUF_TYPES, relieves=frozenset({HOST}), cost=cost, cost_rank=3)
    if case.settings.flag("use_numa"):
        yield Lever(setting="use_numa", values=(False,), relieves=frozenset({HOST}), cost="slower on two sockets", cost_rank=1)


def _devices(case: Case, word: str) -> Iterator[Lever]:
    used, there = case.parallel.devices, len(case.machine.devices)
    counts = range(used + 1, there + 1) if word == "pipeline" else (n for n in (2, 4, 8, 16) if used < n <= there)
    more: tuple[Value, ...] = tuple(counts)
    if more:
        yield Lever(setting=word, values=more, relieves=_GPU, cost="more devices", cost_rank=4)


def _experts(case: Case) -> Iterator[Lever]:
    count = gpu_experts(case)
    if not count:
        return
    cost = "slower tokens: more experts run on the host"
    fewer: tuple[Value, ...] = (*_halves(count, 1), 0)
    ratio = (("kt_gpu_experts_ratio", None),) if case.settings.has("kt_gpu_experts_ratio") else ()
    yield Lever(setting="kt_num_gpu_experts", values=fewer, relieves=_GPU | {START}, cost=cost, cost_rank=1, also=ratio)


def _fraction(case: Case) -> Iterator[Lever]:
    now = case.settings.number("mem_fraction_static") or 0.0
    up = tuple(value for value in (0.88, 0.9, 0.92, 0.94, 0.96) if value > now)
    down = tuple(value for value in (0.9, 0.85, 0.8, 0.75, 0.7, 0.6) if value < now)
    grows, shrinks = frozenset({CACHE, START}), frozenset({WORKSPACE})
    yield Lever(setting="mem_fraction_static", values=up, relieves=grows, cost="less room for a step", cost_rank=1, searched=up[:3])
    yield Lever(setting="mem_fraction_static", values=down, relieves=shrinks, cost="a smaller cache", cost_rank=2)


def _steps(case: Case) -> Iterator[Lever]:
    chunk, slow = case.settings.integer("chunked_prefill_size") or 0, frozenset({WORKSPACE})
    smaller = _smaller((4096, 2048, 1024, 512), chunk if chunk > 0 else prompt_of(case))
    if smaller:
        yield Lever(setting="chunked_prefill_size", values=smaller, relieves=slow, cost="a slower prompt", cost_rank=1)
    if case.settings.has("kt_gpu_prefill_token_threshold"):
        cost = "a slower prompt: its experts run on the host"
        yield Lever(setting="kt_gpu_prefill_token_threshold", values=(prompt_of(case),), relieves=slow, cost=cost, cost_rank=1)
    if case.settings.integer("max_running_requests") != 1:
        rows: tuple[Value, ...] = (64, 16, 4)
        yield Lever(setting="max_running_requests", values=rows, relieves=slow, cost="fewer sequences at once", cost_rank=2)


def _load(case: Case) -> Iterator[Lever]:
    context, rows = context_of(case), case.workload.concurrent_sequences
    if case.settings.text("kv_cache_dtype") == "auto":
        yield Lever(setting="kv_cache_dtype", values=("fp8_e4m3",), relieves=frozenset({CACHE}), cost="an 8-bit cache", cost_rank=3)
    if rows > 1:
        yield Lever(setting="concurrency", values=_halves(rows, 1), relieves=frozenset({CACHE}), cost="fewer sequences", cost_rank=2)
    shorter = _halves(context, _SHORTEST)
    if shorter:
        yield Lever(setting="context", values=shorter, relieves=frozenset({CACHE}), cost="shorter sequences", cost_rank=2)


def _kernel_host(case: Case) -> Iterator[Lever]:
    smaller = {"BF16": ("FP8", "AMXINT8", "AMXINT4"), "FP8": ("AMXINT4",), "AMXINT8": ("AMXINT4",)}
    values: tuple[Value, ...] = smaller.get(case.settings.text("kt_method") or "", ())
    if values:
        cost = "experts on the host in fewer bits, converted first"
        yield Lever(setting="kt_method", values=values, relieves=frozenset({HOST}), cost=cost, cost_rank=3)
    if not case.settings.has("kt_weight_path"):
        cost, method = "experts in fewer bits, read from a GGUF file", (("kt_method", "LLAMAFILE"),)
        yield Lever(setting="gguf_type", values=_GGUF_TYPES, relieves=frozenset({HOST}), cost=cost, cost_rank=3, also=method)
