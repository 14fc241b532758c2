"""The flags of both products: what each sets, which release had it, and the nearest right name of a wrong one."""

import difflib
import re
from typing import Final, NamedTuple

from ullage.domain.case import Value, Version
from ullage.domain.plan import Finding
from ullage.engines.ktransformers.command import KERNEL_FLAGS
from ullage.engines.ktransformers.settings import CLASSIC


class Read(NamedTuple):
    """A command line: its model, settings, findings, tensor ranks, and the paths it names."""

    model: str | None
    values: dict[str, Value]
    findings: tuple[Finding, ...]
    tensor: int
    paths: dict[str, str]


class Renamed(NamedTuple):
    """A flag that a release took away."""

    gone: tuple[int, ...]
    text: str


_NAMES: Final = {
    **{
        name: name
        for name in CLASSIC
        if name not in {"transfer_map", "generate_op", "absorb_for_prefill", "gguf_type", "use_numa", "use_cuda_graph"}
    },
    "chunk_prefill_size": "chunk_size",
    "type": "backend_type",
}
_OLD: Final = {
    "max_chunk_size": Renamed((0, 2, 2), "--max_chunk_size is read by the exllamav2 backend only; since 0.2.2 it is --chunk_prefill_size"),
    "chunk_prefill_size": Renamed((0, 2, 4), "--chunk_prefill_size became --chunk_size with 0.2.4"),
    "type": Renamed((0, 2, 4), "--type became --backend_type with 0.2.4"),
    "max_response_tokens": Renamed((0, 2, 4), "--max_response_tokens is gone since 0.2.4; --max_new_tokens alone counts"),
    "optimize_rule_path": Renamed((0, 2, 2), "--optimize_rule_path became --optimize_config_path with 0.2.2"),
}
_NEW: Final = {
    "cache_lens": ((0, 2), "--cache_lens came with 0.2.0; before, cache_lens stands in ktransformers/server/backend/args.py"),
    "max_new_tokens": ((0, 2), "--max_new_tokens came to the server with 0.2.0; before, it stands in ktransformers/server/backend/args.py"),
    "chunk_size": (
        (0, 2, 4),
        "--chunk_size came with 0.2.4; before, --chunk_prefill_size (0.2.2) or chunck_size in the YAML rules (0.1.3)",
    ),
    "backend_type": ((0, 2, 4), "--backend_type came with 0.2.4; before, it is --type"),
}
_MODEL = ("model_path", "model_dir")
_OTHERS: Final = frozenset(
    re.findall(
        r"\S+",
        "host port ssl_keyfile ssl_certfile web model_name device gguf_path optimize_config_path optimize_rule_path max_chunk_size "
        "api_key tp temperature top_p top_k use_cuda_graph no-use_cuda_graph force_think no-force_think prompt_file mode architectures "
        "log_dir log_level memory_gpu_only utilization_percentage cpu_memory_size_GB sched_strategy paged total_context response_chunk "
        "batch_size cache_q4 cache_8bit repetition_penalty kvc2_config_dir",
    )
)
_DEGREE = re.compile(r"[1-9][0-9]{0,2}")
_TENSOR = ("--tensor-parallel-size", "--tp-size", "--tp")
_KERNEL: Final = {flag: name for name, flag in KERNEL_FLAGS.items()} | {"--kt-gpu-prefill-threshold": "kt_gpu_prefill_token_threshold"}
_KERNEL_SWITCHES: Final = frozenset({"--kt-enable-dynamic-expert-update", "--disable-cuda-graph"})


def _pairs(words: tuple[str, ...]) -> list[tuple[str, str | None]]:
    """Options with their values; a word that begins with two dashes is never a value."""
    found: list[tuple[str, str | None]] = []
    for word in words:
        if word.startswith("--") and len(word) > 2:  # noqa: PLR2004 - more than the dashes
            name, joined, value = word.partition("=")
            found.append((name, value if joined else None))
        elif found and found[-1][1] is None:
            found[-1] = (found[-1][0], word)
    return found


def _wrong(flag: str, known: frozenset[str] | set[str], where: str) -> Finding:
    near = difflib.get_close_matches(flag, sorted(known), n=1, cutoff=0.6)
    return Finding(text=f"{flag} is no option of {where}" + (f"; did you mean {near[0]}?" if near else ""))


def read_classic(words: tuple[str, ...], version: Version | None, *, chat: bool = False) -> Read:
    """Options with underscores, as the classic server and local_chat take them."""
    values: dict[str, Value] = {}
    findings: list[Finding] = []
    paths: dict[str, str] = {}
    for written, value in _pairs(words):
        name = written[2:] if written[2:] in _OTHERS else written[2:].replace("-", "_")
        if name in _MODEL or name == "gguf_path":
            paths[name] = value or ""
        elif name.startswith("optimize_"):
            paths["rules"] = value or ""
        elif name not in _NAMES and name not in _OTHERS:
            known = {f"--{known}" for known in (*_NAMES, *_OTHERS, *_MODEL)}
            findings.append(_wrong(f"--{name}", known, "the classic server"))
            continue
        findings += _dated(name, version) if not (chat and name in _NEW) else []
        if chat and name == "cache_lens":
            findings.append(Finding(text="local_chat has no --cache_lens: its cache is as long as the prompt and --max_new_tokens"))
            continue
        if name in {"use_cuda_graph", "no-use_cuda_graph"}:
            values["use_cuda_graph"] = name == "use_cuda_graph" and str(value).lower() not in {"false", "0"}
            continue
        if name in _NAMES:
            findings += [] if value else [Finding(text=f"--{name} lacks its value")]
            if value:
                values[_NAMES[name]] = value
    if values.get("backend_type") in {"transformers", "exllamav2"}:
        findings.append(Finding(text=f"the backend {values.pop('backend_type')} keeps no expert on the host; it is read as ktransformers"))
    model = paths.get("model_path") or paths.get("model_dir") or None
    return Read(model, values, tuple(findings), 1, paths)


def _dated(name: str, version: Version | None) -> list[Finding]:
    """A flag that this release no longer has or does not have yet; without a release nothing is known."""
    if version is None or version.parts >= (0, 4):
        return []
    if name in _OLD and version.parts >= _OLD[name].gone:
        return [Finding(text=_OLD[name].text)]
    if name in _NEW and version.parts < _NEW[name][0]:
        return [Finding(text=_NEW[name][1])]
    return []


def read_kernel(words: tuple[str, ...]) -> Read:
    """Options with dashes, as the fork of SGLang takes them; what only SGLang knows is passed over."""
    values: dict[str, Value] = {}
    findings: list[Finding] = []
    model, tensor = None, 1
    for written, value in _pairs(words):
        flag = written.replace("_", "-")
        if flag in {"--model", "--model-path"}:
            model = value
        elif flag in _TENSOR:
            tensor = int(value) if value and _DEGREE.fullmatch(value) else 1
        elif flag in _KERNEL_SWITCHES:
            values[_KERNEL[flag]] = True
        elif flag in _KERNEL:
            findings += [] if value else [Finding(text=f"{flag} lacks its value")]
            if value:
                values[_KERNEL[flag]] = value
        elif flag.startswith("--kt-"):
            findings.append(_wrong(flag, set(_KERNEL), "kt-kernel"))
        else:
            near = difflib.get_close_matches(flag, sorted(_KERNEL), n=1, cutoff=0.85)
            findings += [Finding(text=f"{flag} is not known here; did you mean {near[0]}?")] if near else []
    return Read(model, values, tuple(findings), tensor, {})
