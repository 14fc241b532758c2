"""What the engine's own ``--fit`` does before it loads: a context nobody stated shrinks until everything lies in free memory."""

from ullage.domain.case import Case
from ullage.engines.llama_cpp.compute import output_bytes
from ullage.engines.llama_cpp.ledger import projected_bytes, uses_streams
from ullage.engines.llama_cpp.placement import ON_HOST, free_bytes, place
from ullage.engines.llama_cpp.resolve import accelerators, settle
from ullage.engines.llama_cpp.versions import PAD_CELLS
from ullage.units import MiB


def resolve(case: Case) -> Case:
    """The case with every default said; where nothing states the context, the one that ``--fit`` would choose."""
    settled = settle(case)
    if case.workload.context_tokens is not None or (case.settings.integer("ctx_size") or 0) > 0 or not fits_itself(settled):
        return settled
    return settled.with_settings(ctx_size=fitted_context(settled))


def fits_itself(case: Case) -> bool:
    """Whether the engine adjusts what was not said: not for cuts in rows, nor for Ollama, which states a context."""
    allowed = case.settings.text("split_mode") in {"layer", "none"} and not case.settings.flag("ollama")
    return bool(case.settings.flag("fit")) and allowed and case.model.architecture.is_decoder


def margins(case: Case) -> tuple[int, ...]:
    """Bytes to leave free on each device; the last figure said counts for all after it."""
    said = [int(float(word or 0)) * MiB for word in (case.settings.text("fit_target") or "1024").split(",")]
    count = max(1, len(accelerators(case)))
    return tuple((said + [said[-1]] * count)[:count])


def projected_free(case: Case) -> tuple[int, int]:
    """(projected use, free memory) over all devices. Without accelerators the engine takes the host's total for free."""
    devices = accelerators(case)
    if devices:
        return sum(projected_bytes(case, device.id) for device in devices), sum(free_bytes(device) for device in devices)
    used = projected_bytes(case, ON_HOST) + output_bytes(case)
    host = case.devices[0] if case.devices else case.machine.host
    return used, host.total_bytes if host else used


def fitted_context(case: Case) -> int:
    """The context after ``--fit``: between its least and the model's own, by a straight line through the projections of both."""
    streams = max(1, case.settings.integer("n_parallel") or 1) if uses_streams(case) else 1
    longest = (case.settings.integer("ctx_size") or PAD_CELLS) * streams
    least = (case.settings.integer("fit_ctx") or 4096) * streams
    case = case.with_settings(ctx_size=longest)
    used, free = projected_free(case)
    if _meets_targets(case, used, free) or longest <= least:
        return longest
    target = free - sum(margins(case)) - _waste(case)
    used_least = projected_free(case.with_settings(ctx_size=least))[0]
    if target <= used_least or used <= used_least:
        return least if used > used_least else longest
    tokens = least + (longest - least) * (target - used_least) // (used - used_least)
    step = PAD_CELLS * streams
    return min(longest, max(tokens - tokens % step, least))


def _meets_targets(case: Case, used: int, free: int) -> bool:
    devices = accelerators(case)
    if not devices:
        return free - used >= margins(case)[0]
    rooms = (free_bytes(device) - projected_bytes(case, device.id) for device in devices)
    return all(room >= margin for room, margin in zip(rooms, margins(case), strict=True)) or free - used >= sum(margins(case))


def _waste(case: Case) -> int:
    """Whole layers leave gaps on several devices: half a layer for each and one more, a sixth for mixtures."""
    devices = accelerators(case)
    if len(devices) <= 1:
        return 0
    model = sum(place(case).weights_on(device.id) for device in devices)
    layers = max(1, min(case.settings.integer("n_gpu_layers") or 1, len(case.model.architecture.layers)))
    return (len(devices) + 1) * (model // layers) // (6 if case.model.architecture.is_mixture else 2)
