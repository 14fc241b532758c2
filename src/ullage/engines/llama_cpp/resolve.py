"""Every default that matters, filled in by build, device and model, so that all other files read a complete case."""

import re

from ullage.domain.architecture import LatentAttention
from ullage.domain.case import Case, Settings, Value
from ullage.domain.machine import HOST, Device
from ullage.domain.placement import Parallel
from ullage.engines.llama_cpp.settings import ALIASES
from ullage.engines.llama_cpp.versions import PAD_CELLS, Rules, rules_at
from ullage.frozen import replace
from ullage.units import GiB

FALLBACK_TOKENS = 4096  # where neither the question nor the configuration sets a length

# Ollama's context by the memory of all accelerators together (its documentation, 2026).
OLLAMA_TIERS = ((48 * GiB, 262144), (24 * GiB, 32768), (0, 4096))
_LATENT_FLASH_SINCE = 5500
_XPU_FLASH_SINCE = 8000


def rules(case: Case) -> Rules:
    """The rules of this case's build."""
    return rules_at(case.version.parts[0])


def padded(tokens: int, block: int = PAD_CELLS) -> int:
    """Up to whole blocks of cells."""
    return -(-tokens // block) * block


def on_cpu_only(case: Case) -> bool:
    """Whether everything runs on the host: no accelerator, or none allowed."""
    return all(device.kind == "cpu" for device in case.devices) or case.settings.text("device") == "none"


def host_of(case: Case) -> str | None:
    """The id of the device that host memory is: a CPU, unified memory, or the host; None where nothing is known of it."""
    shared = next((device.id for device in case.devices if device.kind == "cpu" or device.shares_memory_with is not None), None)
    if shared is not None:
        return shared
    return HOST if case.machine.host is not None else None


def accelerators(case: Case) -> tuple[Device, ...]:
    """The devices that layers can go to, in order."""
    if on_cpu_only(case):
        return ()
    found = case.devices
    if case.settings.text("split_mode") == "none":
        main = case.settings.integer("main_gpu") or 0
        return found[main : main + 1] or found[:1]
    words = [word for word in (case.settings.text("device") or "").split(",") if word]
    if not words:
        return found
    numbers = [int(number[1]) for word in words if (number := re.search(r"(\d{1,4})$", word))]
    named = tuple(found[number] for number in numbers if number < len(found))
    return named if len(named) == len(words) else found[: len(words)]


def layer_count(case: Case) -> int:
    """Repeating layers; the output layer comes after them."""
    return len(case.model.architecture.layers)


def settle(case: Case) -> Case:
    """The case with every default said, and all devices used unless fewer were asked for; the context is not fitted yet."""
    placed = replace(case, parallel=_parallel(case), settings=_named(case.settings))
    return replace(placed, settings=Settings.of({**defaults(placed), **_said(placed.settings)}))


def _named(settings: Settings) -> Settings:
    return Settings.of({ALIASES.get(name, name): value for name, value in settings.items})


def _said(settings: Settings) -> dict[str, Value]:
    automatic: dict[str, tuple[Value, ...]] = {
        "parallel": (-1, 0),
        "n_gpu_layers": ("auto", "all"),
        "flash_attn": ("auto",),
        "ctx_size": (0,),
    }
    return {name: value for name, value in settings.items if value is not None and value not in automatic.get(name, ())}


def _parallel(case: Case) -> Parallel:
    """Layers go over all devices that the engine sees; ``--tp`` asks for rows."""
    if case.parallel.devices > 1 or "parallel" in case.stated or case.settings.text("split_mode") == "none":
        return case.parallel
    return Parallel(pipeline=max(1, len(case.machine.devices)))


def defaults(case: Case) -> dict[str, Value]:
    """What this build takes where nobody said anything, given what was said."""
    rule, said = rules(case), case.settings
    slots, unified = _slots(case, rule)
    kind = said.text("cache_type") or "f16"
    batch = said.integer("batch_size") or 512 * _ollama_factor(case, slots) if said.flag("ollama") else said.integer("batch_size") or 2048
    found: dict[str, Value] = {
        "n_parallel": slots,
        "kv_unified": unified,
        "split_mode": "row" if case.parallel.tensor > 1 else "layer",
        "cache_type_k": kind,
        "cache_type_v": kind,
        "batch_size": batch,
        "ubatch_size": batch if said.flag("ollama") else min(512, batch),
        "flash_attn": _flash(case, rule),
        "fit": rule.fits,
        "fit_target": "1024",
        "fit_ctx": 4096,
        "cache_ram": rule.prompt_cache_mib,
        "ctx_checkpoints": rule.checkpoints,
        "n_gpu_layers": layer_count(case) + 1 if _offloads_all(case, rule) else 0,
    }
    found["ctx_size"] = _context(case, rule, slots, unified=unified)
    return found


def _ollama_factor(case: Case, slots: int) -> int:
    del case
    return max(1, slots)


def _offloads_all(case: Case, rule: Rules) -> bool:
    said = case.settings.get("n_gpu_layers")
    return rule.offload_all or said in {"auto", "all"} or bool(case.settings.flag("ollama"))


def _slots(case: Case, rule: Rules) -> tuple[int, bool]:
    """Slots, and whether they share one cache. Who asks for sequences at once gets as many slots."""
    said = case.settings.integer("n_parallel")
    unified = case.settings.flag("kv_unified")
    if not rule.streams:
        return (said if said and said > 0 else max(1, case.workload.concurrent_sequences)), True
    if said is not None and said > 0:
        return said, bool(unified)
    if case.settings.flag("ollama"):
        return max(1, case.workload.concurrent_sequences), bool(unified)
    slots = max(rule.auto_slots, case.workload.concurrent_sequences)
    return slots, (rule.auto_slots > 1 if unified is None else unified)


def _flash(case: Case, rule: Rules) -> str:
    """What auto becomes."""
    said = case.settings.text("flash_attn")
    if said is None and not rule.flash_by_default:
        return "off"
    build = case.version.parts[0]
    latent = any(isinstance(mixer, LatentAttention) for layer in case.model.architecture.layers for mixer in layer.mixers)
    if latent and build < _LATENT_FLASH_SINCE:
        return "off"
    return "off" if build < _XPU_FLASH_SINCE and any(device.kind == "xpu" for device in case.devices) else "on"


def _context(case: Case, rule: Rules, slots: int, *, unified: bool) -> int:
    """The tokens of the whole cache: those of the sequences asked for, else the build's default."""
    sequences = max(1, case.workload.concurrent_sequences) if unified else slots
    if case.workload.context_tokens is not None:
        each = case.workload.context_tokens
        return (each if unified else padded(each)) * sequences
    if case.settings.flag("ollama"):
        total = sum(device.total_bytes for device in case.devices if device.kind != "cpu")
        tier = next(tokens for least, tokens in OLLAMA_TIERS if total >= least)
        return min(tier, case.model.architecture.max_context_tokens or tier) * slots
    return rule.context_tokens or case.model.architecture.max_context_tokens or FALLBACK_TOKENS
