"""What can be changed: each setting with values to try, what it relieves and what it costs."""

from collections.abc import Iterator

from ullage.domain.case import Case, Value
from ullage.domain.placement import Parallel
from ullage.domain.plan import Lever, Limit
from ullage.engines.ipex_llm.ranks import is_capped
from ullage.engines.ipex_llm.resolve import activation_dtype, is_served, mode, on_cpu
from ullage.engines.ipex_llm.settings import API
from ullage.engines.ipex_llm.versions import DEFAULT, rules
from ullage.engines.ipex_llm.weights import packed

CACHE, WORKSPACE, WEIGHTS, START = Limit.CACHE, Limit.WORKSPACE, Limit.WEIGHTS, Limit.START
_ALL = frozenset({CACHE, WORKSPACE, WEIGHTS})
_FRACTIONS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
_SMALLER = ("fp8", "fp6", "sym_int4")


def levers(case: Case) -> tuple[Lever, ...]:
    """Every lever of this build for this case, in the order to try."""
    own = (*_served(case),) if is_served(case) else (*_generated(case),)
    return (*own, *_packing(case), *_more(case))


def _served(case: Case) -> Iterator[Lever]:
    if not is_capped(case):
        yield from _fraction(case)
    if not rules(case).peak_counted and not on_cpu(case):
        yield Lever(
            setting="engine_version",
            values=(str(DEFAULT),),
            relieves=frozenset({WORKSPACE, START}),
            cost="a build that counts the activation peak before it sizes the cache",
            cost_rank=0,
            also=(("build_date", None),),
        )
    tokens, length = case.settings.integer("max_num_batched_tokens") or 1, case.settings.integer("max_model_len") or 1
    if tokens < length and not case.settings.flag("enable_chunked_prefill"):
        yield Lever(
            setting="max_num_batched_tokens",
            values=(length,),
            relieves=frozenset({START}),
            cost="a larger activation peak",
            cost_rank=0,
        )
        yield Lever(setting="max_model_len", values=(tokens,), relieves=frozenset({START}), cost="shorter sequences", cost_rank=2)
    if tokens > length:
        yield Lever(
            setting="max_num_batched_tokens",
            values=(length,),
            relieves=frozenset({WORKSPACE, CACHE}),
            cost="slower prompts",
            cost_rank=1,
            searched=(length,),
        )
    slots: tuple[Value, ...] = tuple(count for count in (64, 16, 8, 4, 1) if count < (case.settings.integer("max_num_seqs") or 1))
    if slots:
        yield Lever(
            setting="max_num_seqs", values=slots, relieves=frozenset({WORKSPACE, CACHE}), cost="fewer sequences at once", cost_rank=2
        )
    for shorter in _halves(length, 512)[:4]:
        yield Lever(
            setting="max_model_len",
            values=(shorter,),
            relieves=frozenset({CACHE, WORKSPACE}),
            cost="shorter sequences",
            cost_rank=2,
            also=(("max_num_batched_tokens", shorter),) if "max_num_batched_tokens" in case.stated else (),
        )


def _fraction(case: Case) -> Iterator[Lever]:
    """Upwards for the cache, downwards for what the fork does not see."""
    now = case.settings.number("gpu_memory_utilization") or 0.0
    higher: tuple[Value, ...] = tuple(value for value in _FRACTIONS if value > now)
    lower: tuple[Value, ...] = tuple(value for value in reversed(_FRACTIONS) if value < now)
    if higher:
        yield Lever(
            setting="gpu_memory_utilization",
            values=higher,
            relieves=frozenset({CACHE}),
            cost="less room for what the fork does not see",
            cost_rank=1,
        )
    if lower:
        yield Lever(
            setting="gpu_memory_utilization",
            values=lower,
            relieves=frozenset({WORKSPACE}),
            cost="a smaller cache",
            cost_rank=1,
            searched=lower[:: max(1, len(lower) // 4)],
        )


def _generated(case: Case) -> Iterator[Lever]:
    if activation_dtype(case) == "float32":
        yield Lever(
            setting="dtype",
            values=("float16",),
            relieves=_ALL,
            cost="none: what .half() does, as the examples say",
            cost_rank=0,
            searched=("float16",),
        )
    if case.settings.text("kv_cache_dtype") == "auto" and not on_cpu(case):
        yield Lever(
            setting="kv_cache_dtype", values=("fp8",), relieves=frozenset({CACHE}), cost="an 8-bit cache: some quality", cost_rank=3
        )
    if not case.settings.flag("cpu_embedding") and not on_cpu(case):
        yield Lever(
            setting="cpu_embedding",
            values=(True,),
            relieves=frozenset({WEIGHTS, CACHE}),
            cost="tokens are looked up on the host",
            cost_rank=1,
        )
    rows, context = case.workload.concurrent_sequences, case.workload.context_tokens or 1
    growth = frozenset({CACHE, WORKSPACE})
    if rows > 1:
        yield Lever(setting="concurrency", values=_halves(rows, 1), relieves=growth, cost="fewer sequences in a batch", cost_rank=2)
    if _halves(context, 256):
        yield Lever(setting="context", values=_halves(context, 256), relieves=growth, cost="shorter sequences", cost_rank=2)


def _packing(case: Case) -> Iterator[Lever]:
    """Fewer bits, where the unquantised weights are known."""
    now = packed(case).checkpoint.nbytes
    if case.model.is_quantised and case.model.unquantised is None:
        return
    fewer: tuple[Value, ...] = tuple(word for word in _SMALLER if packed(case.with_settings(load_in_low_bit=word)).checkpoint.nbytes < now)
    if fewer:
        yield Lever(setting="load_in_low_bit", values=fewer, relieves=_ALL, cost="fewer bits a weight: some quality", cost_rank=3)


def _more(case: Case) -> Iterator[Lever]:
    setting = "tensor" if is_served(case) else "pipeline"
    now = case.parallel.tensor if is_served(case) else case.parallel.pipeline
    more: tuple[Value, ...] = tuple(layout.devices for layout in layouts(case) if layout.devices > now)
    if more:
        yield Lever(setting=setting, values=more, relieves=_ALL, cost="more cards", cost_rank=4)


def layouts(case: Case) -> tuple[Parallel, ...]:
    """The fork cuts every layer over 1, 2, 4 ... cards; ``generate`` puts whole layers on more of them."""
    there = max(1, len(case.machine.devices))
    if mode(case) == API:
        return tuple(Parallel(pipeline=count) for count in range(1, there + 1))
    heads = {getattr(m, "query_heads", 1) for layer in case.model.architecture.layers for m in layer.mixers}
    return tuple(Parallel(tensor=count) for count in range(1, there + 1) if all(number % count == 0 for number in heads))


def _halves(count: int, least: int) -> tuple[Value, ...]:
    """A half, a quarter and so on, no less than ``least``."""
    return tuple(part for power in range(1, count.bit_length()) if (part := count >> power) >= least)
