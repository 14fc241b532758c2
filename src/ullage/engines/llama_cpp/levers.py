"""What can be changed: each setting with values to try, what it relieves and what it costs."""

from collections.abc import Iterator

from ullage.domain.architecture import ExpertFeedForward
from ullage.domain.case import Case
from ullage.domain.placement import Parallel
from ullage.domain.plan import Lever, Limit
from ullage.engines.llama_cpp.cache import cells, windows_known
from ullage.engines.llama_cpp.capacity import accelerator_overflows, largest, longest_fitting, overflows
from ullage.engines.llama_cpp.resolve import accelerators, layer_count, rules
from ullage.engines.llama_cpp.settings import cache_format

CACHE, WORKSPACE, WEIGHTS, START, HOST = Limit.CACHE, Limit.WORKSPACE, Limit.WEIGHTS, Limit.START, Limit.HOST
_DEVICE = frozenset({CACHE, WORKSPACE, WEIGHTS})
_STEPS = (1024, 512, 256, 128, 64)


def levers(case: Case) -> tuple[Lever, ...]:
    """Every lever of this build for this case, in the order to try."""
    return (
        *_free(case),
        *_step(case),
        *_experts(case),
        *_layers(case),
        *_slots(case),
        *_length(case),
        *_cache_types(case),
        *_saved(case),
        *_beside(case),
    )


def _free(case: Case) -> Iterator[Lever]:
    """What costs nothing."""
    if case.settings.text("flash_attn") == "off":
        yield Lever(
            setting="flash_attn", values=("on",), relieves=_DEVICE | {START}, cost="none where the device has the kernel", cost_rank=0
        )
    if case.settings.flag("swa_full"):
        yield Lever(setting="swa_full", values=(False,), relieves=_DEVICE, cost="less of a prompt is reused", cost_rank=0)
    if windows_known(case) or not case.settings.flag("kv_unified"):
        yield Lever(setting="cache_ram", values=(0,), relieves=frozenset({HOST}), cost="no saved prompts", cost_rank=1)


def _step(case: Case) -> Iterator[Lever]:
    now = case.settings.integer("ubatch_size") or 512
    smaller = tuple(value for value in _STEPS if value < now)
    if smaller:
        yield Lever(setting="ubatch_size", values=smaller, relieves=_DEVICE | {HOST}, cost="slower prefill", cost_rank=1)


def _experts(case: Case) -> Iterator[Lever]:
    """Experts to the host: the fewest layers that make it fit."""
    layers = case.model.architecture.layers
    mixed = [index for index, layer in enumerate(layers) if isinstance(layer.feed_forward, ExpertFeedForward)]
    now = case.settings.integer("n_cpu_moe") or 0
    if not mixed or not accelerators(case) or case.settings.flag("cpu_moe"):
        return
    total = len(layers)
    fewest, safe = (_fewest_experts(case, total, now, high=high) for high in (False, True))
    steps = (fewest, min(total, fewest + 1), safe, min(total, fewest + 3), total)
    values = tuple(sorted({value for value in steps if value > now}))
    if values:
        yield Lever(
            setting="n_cpu_moe",
            values=values,
            relieves=_DEVICE,
            cost="experts of these layers run from host memory",
            cost_rank=1,
            searched=values[:2],
        )


def _fewest_experts(case: Case, total: int, now: int, *, high: bool) -> int:
    """The fewest layers whose experts have to leave the accelerators; all of them where that is not enough."""
    kept = largest(0, total - now, lambda kept: not accelerator_overflows(case.with_settings(n_cpu_moe=total - kept), high=high))
    return total - max(0, kept)


def _layers(case: Case) -> Iterator[Lever]:
    """Fewer layers on the accelerators: as many as fit."""
    now = case.settings.integer("n_gpu_layers") or 0
    if not accelerators(case) or (now < 1 and "n_gpu_layers" in case.stated):
        return
    if now < 1:  # relieves nothing: it uses what the build's default leaves empty
        most = largest(0, layer_count(case) + 1, lambda count: not overflows(case.with_settings(n_gpu_layers=count), high=True))
        if most > 0:
            yield Lever(
                setting="n_gpu_layers",
                values=(most,),
                relieves=frozenset(),
                cost="none: this build's own default leaves the accelerators empty",
                cost_rank=0,
                searched=(most,),
            )
        return
    now = min(now, layer_count(case) + 1)
    fits = largest(0, now - 1, lambda count: not overflows(case.with_settings(n_gpu_layers=count)))
    values = tuple(dict.fromkeys(value for value in (fits, fits - 1, fits - 2, fits - 4) if 0 <= value < now))
    if values:
        yield Lever(
            setting="n_gpu_layers",
            values=values,
            relieves=_DEVICE,
            cost="the other layers run on the host, several times slower",
            cost_rank=2,
            searched=values[:2],
        )


def _slots(case: Case) -> Iterator[Lever]:
    now, needed = case.settings.integer("n_parallel") or 1, max(1, case.workload.concurrent_sequences)
    if now > needed:
        yield Lever(setting="n_parallel", values=(needed,), relieves=_DEVICE | {HOST}, cost="fewer sequences at once", cost_rank=2)


def _length(case: Case) -> Iterator[Lever]:
    """The longest context that fits."""
    lengths = (longest_fitting(case), longest_fitting(case, high=True))
    asked = case.workload.context_tokens or 0
    shorter = tuple(sorted({value for value in lengths if value > 0 and (not asked or value < asked)}, reverse=True))
    if shorter:
        alone = cells(case).streams == 1 and case.workload.concurrent_sequences == 1
        name = "ctx_size" if alone or not asked or "ctx_size" in case.stated else "context"
        if name == "ctx_size":  # all slots' together
            shorter = tuple(value * cells(case).streams for value in shorter)
        yield Lever(setting=name, values=shorter, relieves=_DEVICE | {HOST}, cost="shorter sequences", cost_rank=2)


def _cache_types(case: Case) -> Iterator[Lever]:
    now = cache_format(case.settings.text("cache_type_k") or "f16")
    smaller = tuple(kind for kind in ("q8_0", "q4_0") if cache_format(kind).nbytes(256) < now.nbytes(256))
    if smaller:
        also = (("cache_type_k", None), ("cache_type_v", None), ("flash_attn", "on"))
        yield Lever(
            setting="cache_type", values=smaller, relieves=_DEVICE, cost="coarser keys and values: some quality", cost_rank=3, also=also
        )


def _saved(case: Case) -> Iterator[Lever]:
    """Less host memory for what is saved."""
    now = case.settings.integer("cache_ram") or 0
    smaller = tuple(value for value in (4096, 2048, 1024, 0) if now < 0 or value < now)
    if smaller:
        yield Lever(setting="cache_ram", values=smaller, relieves=frozenset({HOST}), cost="fewer saved prompts", cost_rank=1)
    if (case.settings.integer("ctx_checkpoints") or 0) > 1:
        yield Lever(setting="ctx_checkpoints", values=(8, 4, 1), relieves=frozenset({HOST}), cost="prompts are read again", cost_rank=1)


def _beside(case: Case) -> Iterator[Lever]:
    """The cache on the host."""
    if accelerators(case) and case.settings.flag("kv_offload") is not False and rules(case):
        yield Lever(setting="kv_offload", values=(False,), relieves=_DEVICE, cost="attention runs on the host, much slower", cost_rank=4)


def layouts(case: Case) -> tuple[Parallel, ...]:
    """Layers over all devices, then over fewer; one device is what a machine of one has."""
    count = max(1, len(case.machine.devices))
    return tuple(Parallel(pipeline=devices) for devices in range(count, 1, -1)) or (Parallel(),)
