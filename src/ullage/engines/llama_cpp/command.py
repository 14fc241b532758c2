"""Write the command that starts a case."""

from ullage.domain.case import Case, Model, Settings, Value
from ullage.domain.plan import Command
from ullage.engines.llama_cpp.flags import Flag, by_setting
from ullage.engines.llama_cpp.ollama import ollama_command
from ullage.engines.llama_cpp.resolve import on_cpu_only, settle
from ullage.frozen import replace

_LOCAL = "127.0.0.1"
_FLASH_TAKES_A_WORD = 6325
_ALWAYS = ("ctx_size",)
_DEVICE_SINCE = 4170  # --device and its kin, ggml-org/llama.cpp#10497
# How the backend of each kind numbers its devices, and the variable that hides some.
_NAMED = {
    "cuda": ("CUDA", "CUDA_VISIBLE_DEVICES"),
    "rocm": ("ROCm", "HIP_VISIBLE_DEVICES"),
    "xpu": ("SYCL", "ONEAPI_DEVICE_SELECTOR"),
    "mps": ("Metal", "GGML_METAL_DEVICES"),
    "cpu": ("CPU", "CUDA_VISIBLE_DEVICES"),
}


def command(case: Case) -> Command:
    """``llama-server -m MODEL --flag ...``, or Ollama's server; only what was stated or differs from this build's defaults."""
    if case.settings.flag("ollama"):
        return ollama_command(case)
    chosen = _chosen(case)
    host: dict[str, Value] = {} if case.settings.has("host") else {"host": _LOCAL}
    devices, visible = _devices(case)
    words = tuple(word for name, value in {**chosen, **devices, **host}.items() for word in _words(case, name, value))
    return Command(argv=("llama-server", *_model(case.model), *words), environment=tuple({**visible, **dict(case.environment)}.items()))


def _model(model: Model) -> tuple[str, str]:
    """A file by its path, a Hub id through the engine's own download; a mixture by rule is a file yet to be made."""
    name = model.argument
    if name.startswith("hf:"):
        return "-hf", name.removeprefix("hf:")
    if name.endswith(".gguf"):
        return "-m", name
    if model.checkpoint.exact and any(tensor.name.startswith("blk.") for tensor in model.checkpoint.tensors):
        return ("-hf" if "/" in name and not name.startswith(("/", ".", "~")) else "-m"), name
    return "-m", f"{name.rstrip('/').rsplit('/', 1)[-1]}-{_type_of(model)}.gguf"


def _type_of(model: Model) -> str:
    """The type of a file's name as the converter and the quantiser write it."""
    scheme = model.checkpoint.scheme
    return {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}.get(scheme, scheme.rsplit(" ", 1)[-1].upper())


def _devices(case: Case) -> tuple[dict[str, Value], dict[str, str]]:
    """What keeps the engine to the devices of the plan, which else takes all it sees: a flag, or a variable before there was one."""
    used, there = case.devices, case.machine.devices
    if len(used) == len(there) or case.settings.has("device") or case.settings.text("split_mode") == "none" or on_cpu_only(case):
        return {}, {}
    prefix, variable = _NAMED[used[0].kind]
    if case.version.parts[0] >= _DEVICE_SINCE:
        return {"device": ",".join(f"{prefix}{index}" for index in range(len(used)))}, {}
    return {}, {variable: ",".join(str(index) for index in range(len(used)))}


def _chosen(case: Case) -> dict[str, Value]:
    wanted = {name: value for name, value in case.settings.items if value is not None and name in by_setting()}
    bare = settle(replace(case, settings=Settings(), workload=replace(case.workload, context_tokens=None, concurrent_sequences=1)))
    unsaid = dict(bare.settings.items)
    kept = {*case.stated, *_ALWAYS}
    said: dict[str, Value] = {name: value for name, value in wanted.items() if name in kept or unsaid.get(name) != value}
    if "n_parallel" in said or "kv_unified" in said:  # saying one changes what the other is when it is not said
        said |= {name: wanted[name] for name in ("n_parallel", "kv_unified") if name in wanted}
    for one, other in (("batch_size", "ubatch_size"), ("cache_type_k", "cache_type_v")):
        if one in said and other in wanted:
            said[other] = wanted[other]
    return said


def _words(case: Case, name: str, value: Value) -> tuple[str, ...]:
    """The words of one setting."""
    flag: Flag | None = by_setting().get(name)
    if flag is None:
        return ()
    option = flag.spellings[0]
    match flag.takes:
        case "switch":
            if value is True:
                return (option,)
            return flag.opposites[:1] if value is False else ()
        case "word":
            word = value if isinstance(value, str) else ("on" if value else "off")
            if name == "flash_attn" and case.version.parts[0] < _FLASH_TAKES_A_WORD:
                return (option,) if word == "on" else ()
            return option, word
        case _:
            return option, str(value)
