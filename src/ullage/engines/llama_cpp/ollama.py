"""Ollama, which starts llama.cpp's server: its environment variables in llama.cpp's words, and back."""

from collections.abc import Mapping

from ullage.domain.case import Case, Settings, Value
from ullage.domain.engine import Request
from ullage.domain.placement import Parallel
from ullage.domain.plan import Command, Finding
from ullage.engines.llama_cpp.settings import CACHE_TYPES, validate
from ullage.errors import InputError

_SERVE, _RUN = frozenset({"serve", "start"}), frozenset({"run", "show", "create", "pull"})
_VARIABLES = {
    "OLLAMA_CONTEXT_LENGTH": "ollama_context_length",
    "OLLAMA_NUM_PARALLEL": "n_parallel",
    "OLLAMA_KV_CACHE_TYPE": "cache_type",
    "OLLAMA_FLASH_ATTENTION": "flash_attn",
    "OLLAMA_GPU_OVERHEAD": "ollama_gpu_overhead",
}
_OTHERS = frozenset(
    """
    OLLAMA_HOST OLLAMA_MODELS OLLAMA_KEEP_ALIVE OLLAMA_MAX_LOADED_MODELS OLLAMA_MAX_QUEUE OLLAMA_SCHED_SPREAD OLLAMA_DEBUG OLLAMA_ORIGINS
    OLLAMA_NOPRUNE OLLAMA_NOHISTORY OLLAMA_LLM_LIBRARY OLLAMA_LOAD_TIMEOUT OLLAMA_MULTIUSER_CACHE OLLAMA_NEW_ENGINE OLLAMA_NUM_GPU
    OLLAMA_INTEL_GPU OLLAMA_TMPDIR OLLAMA_VULKAN OLLAMA_REMOTES
    """.split()  # noqa: SIM905 - a list of words reads best as words
)


def read_ollama(argv: tuple[str, ...], environment: Mapping[str, str]) -> Request | None:
    """``ollama serve`` or ``ollama run MODEL`` with its variables, or None."""
    if not argv or argv[0].rsplit("/", 1)[-1].removesuffix(".exe") != "ollama":
        return None
    words = [word for word in argv[1:] if not word.startswith("-")]
    if not words or words[0] not in _SERVE | _RUN:
        return None
    findings: list[Finding] = []
    settings: dict[str, Value] = {"ollama": True}
    for name, value in environment.items():
        _read_variable(name, value, settings, findings)
    length = settings.pop("ollama_context_length", None)
    if isinstance(length, int):
        slots = settings.get("n_parallel")
        settings["ctx_size"] = length * (slots if isinstance(slots, int) else 1)
    if words[0] in _RUN and len(settings) > 1:
        findings.append(Finding(text="the variables count for the server: set them for `ollama serve`, not for `ollama run`", wrong=False))
    return Request(
        engine="llama_cpp",
        model=words[1] if words[0] in _RUN and len(words) > 1 else None,
        settings=Settings.of(settings),
        parallel=Parallel(),
        environment=tuple((name, value) for name, value in environment.items() if name.startswith("OLLAMA_") and name not in _VARIABLES),
        findings=tuple(findings),
        stated=frozenset(settings),
    )


def _read_variable(name: str, value: str, settings: dict[str, Value], findings: list[Finding]) -> None:
    setting = _VARIABLES.get(name)
    if setting is None:
        if name.startswith("OLLAMA_") and name not in _OTHERS:
            findings.append(Finding(text=f"Ollama reads no variable {name[:60]}; known are {', '.join(_VARIABLES)}"))
        return
    try:
        if setting.startswith("ollama_"):
            settings[setting] = _number(value)
        elif setting == "cache_type" and value.strip().lower() not in CACHE_TYPES:
            findings.append(Finding(text=f"{name}={value[:40]!r} is no cache type: f16, q8_0 and q4_0 are"))
        else:
            settings[setting] = validate(setting, value)
    except InputError as error:
        findings.append(Finding(text=f"{name}: {error}"))


def _number(value: str) -> int:
    if not value.strip().isdigit() or len(value) > 18:  # noqa: PLR2004 - beyond any memory
        raise InputError(f"{value[:40]!r} is no whole number")
    return int(value)


def ollama_command(case: Case) -> Command:
    """``ollama serve`` with the variables that make the case."""
    slots = case.settings.integer("n_parallel") or 1
    found = {
        "OLLAMA_CONTEXT_LENGTH": str((case.settings.integer("ctx_size") or 0) // slots),
        "OLLAMA_NUM_PARALLEL": str(slots),
        "OLLAMA_KV_CACHE_TYPE": case.settings.text("cache_type_k") or "f16",
        "OLLAMA_FLASH_ATTENTION": "1" if case.settings.text("flash_attn") != "off" else "0",
    }
    overhead = case.settings.integer("ollama_gpu_overhead")
    if overhead:
        found["OLLAMA_GPU_OVERHEAD"] = str(overhead)
    kept = tuple((name, value) for name, value in case.environment if name not in found)
    return Command(argv=("ollama", "serve"), environment=(*kept, *found.items()))
