"""Read commands that load a model with ExLlamaV3: TabbyAPI, its own scripts, text-generation-webui with that loader."""

import re
from collections.abc import Mapping
from typing import Final

from ullage.catalog import tabbyapi, textgen
from ullage.catalog.exllama_options import AUTO, NONE, Flag, read_numbers, scan, typed
from ullage.domain.case import Settings, Value, Version
from ullage.domain.engine import Request
from ullage.domain.placement import Parallel
from ullage.domain.plan import Finding
from ullage.engines.exllamav3.command import BACKEND
from ullage.engines.exllamav3.settings import validate

_LOADERS = frozenset({"exllamav3", "exllamav3_hf"})
_OTHERS = re.compile(r"exl2|gptq", re.IGNORECASE)  # names of models for the predecessor
_SCRIPT, _SCRIPT_CACHE = "chat.py", 8192
_PREDECESSOR = frozenset({"-l", "--length", "-c8", "-cq4", "-cq6", "-cq8", "-nfa", "-chunk"})  # ExLlamaV2's own
_OWN: Final = (
    ("-m", "--model_dir", "model", "one"),
    ("-gs", "--gpu_split", "gpu_split", "one"),
    ("-cs", "--cache_size", "cache_size", "one"),
    ("-cq", "--cache_quant", "cache_mode", "one"),
    ("-tp", "--tensor_parallel", "tensor_parallel", "none"),
    ("-mcl", "--moe_cpu_offload", "cpu_moe_offload_layers", "one"),
    ("-ambs", "--autosplit_max_batch_size", "max_batch_size", "one"),
    ("-mode", "--mode", "", "one"),
    ("-or", "--override", "", "one"),
    ("-mclt", "--moe_cpu_threads", "", "one"),
    ("-tpb", "--tp_backend", "", "one"),
    ("-temp", "--temperature", "", "one"),
    ("-ccs", "--cpu_cache_size", "", "one"),
    ("-lm", "--load_metrics", "", "none"),
    ("-lv", "--load_verbose", "", "none"),
    ("-swa_full", "--swa_full", "", "none"),
)
FLAGS: Final = {word: Flag(setting=name, takes=takes) for short, long, name, takes in _OWN for word in (short, long)}


def read_command(argv: tuple[str, ...], environment: Mapping[str, str], version: Version | None) -> Request | None:
    """The request a command makes, or None where it does not load a model with this engine."""
    found = _tabby(argv) or _own(argv) or textgen.read(argv, _LOADERS)
    if found is None:
        return None
    values, findings = found
    named = [values.pop(name, None) for name in ("model", "model_name")]
    model = next((name for name in named if name is not None), None)
    settings, more = typed(values, validate)
    visible = [word for word in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if word.strip()]
    stated = {*settings, "parallel"} if visible else {*settings}
    return Request(
        engine=BACKEND,
        model=str(model) if model is not None else None,
        settings=Settings.of(settings),
        parallel=_cards(settings, len(visible)),
        environment=tuple((name, value) for name, value in environment.items() if name == "CUDA_VISIBLE_DEVICES"),
        findings=(*findings, *more, *_remarks(settings, model)),
        version=version,
        stated=frozenset(stated - {"gpu_split"} if settings.get("gpu_split") in {AUTO, NONE} else stated),
    )


def _remarks(settings: Mapping[str, Value], model: Value) -> list[Finding]:
    found = [] if model is not None else [Finding(text="no model is named: TabbyAPI then loads the one of config.yml, or none")]
    size = settings.get("cache_size")
    if isinstance(size, int) and size % 256:
        found.append(Finding(text=f"cache_size {size} is no multiple of 256, and TabbyAPI stops: write {-(-size // 256) * 256}"))
    if "cache_size" not in settings:
        found.append(Finding(text="cache_size is not said: it becomes max_seq_len, and without that the model's whole length", wrong=False))
    return found


def _cards(settings: Mapping[str, Value], visible: int) -> Parallel:
    split = settings.get("gpu_split")
    if settings.get("tensor_parallel"):
        return Parallel(tensor=max(1, visible))
    if isinstance(split, str) and split not in {AUTO, NONE}:
        return Parallel(pipeline=len(read_numbers("gpu_split", split)))
    return Parallel(pipeline=max(1, visible))


def _tabby(argv: tuple[str, ...]) -> tuple[dict[str, Value], list[Finding]] | None:
    words = tabbyapi.words_after_program(argv)
    if words is None:
        return None
    values, findings = tabbyapi.read(words)
    backend = str(values.pop("backend", "")).lower()
    others = backend != BACKEND if backend else _OTHERS.search(str(values.get("model_name", ""))) is not None
    return None if others else (values, findings)


def _own(argv: tuple[str, ...]) -> tuple[dict[str, Value], list[Finding]] | None:
    """Its chat script, which fills every card it sees and has a cache of 8192 tokens."""
    at = next((at for at, word in enumerate(argv) if word.rpartition("/")[2] == _SCRIPT), None)
    words = argv[at + 1 :] if at is not None else ()
    if not {"-m", "--model_dir"} & set(words) or _PREDECESSOR & set(words):
        return None
    values, findings = scan(words, FLAGS, _SCRIPT)
    return {"gpu_split": AUTO, "cache_size": _SCRIPT_CACHE, **values}, findings
