"""Read a command somebody wrote into settings. Whatever is wrong with it becomes a finding; nothing is ever raised."""

import re
from collections.abc import Mapping
from typing import Final

from ullage.domain.case import Settings, Value, Version
from ullage.domain.engine import Request
from ullage.domain.placement import Parallel
from ullage.domain.plan import Finding
from ullage.engines.ktransformers.command import ARGS_MODULE
from ullage.engines.ktransformers.read_flags import Read, read_classic, read_kernel
from ullage.engines.ktransformers.settings import validate
from ullage.engines.ktransformers.versions import version as release
from ullage.errors import InputError

_SCRIPTS = ("ktransformers/server/main.py", "ktransformers/local_chat.py")
_MODULES = {"ktransformers.local_chat": "local_chat", "ktransformers.server.main": "", "sglang.launch_server": "kernel"}
_ASSIGNED = re.compile(r"\.(cache_lens|max_new_tokens|max_response_tokens)\s*=\s*(\d{1,9})")
_WRAPPERS = frozenset({"numactl", "nohup", "taskset", "sudo", "time"})
_PROGRAMS = frozenset({"ktransformers", "kt", "sglang"})
_LONGEST = 4096
_GPUS = re.compile(r"multi-gpu(?:-(\d{1,2}))?")
_GGUF = re.compile(r"(?<![a-z0-9])(q4_k_m|q5_k_m|q[2-6]_k|q4_0|q8_0|bf16|f16)(?![a-z0-9])", re.IGNORECASE)
# Defaults of `kt run`, which starts the fork's server.
_KT_RUN: Final[dict[str, Value]] = {
    "kt_num_gpu_experts": 1,
    "max_total_tokens": 40000,
    "chunked_prefill_size": 4096,
    "mem_fraction_static": 0.98,
}


def read_command(argv: tuple[str, ...], environment: Mapping[str, str], version: Version | None) -> Request | None:
    """The request a command makes, or None where it starts no KTransformers."""
    bare, wrapped = _unwrapped(argv)
    start = _start(bare)
    if start is None:
        return None
    kind, rest = start
    if kind == "kernel":
        if not any(word.startswith("--kt-") for word in rest):
            return None
        known = read_kernel(rest)
        return _request(known._replace(findings=(*known.findings, *wrapped)), environment, None)
    if kind == "kt":
        return _kt_run(rest, environment)
    known = read_classic(rest, version, chat=kind == "local_chat")
    values: dict[str, Value] = dict(known.values)
    implied = _implied(kind, rest)
    if kind.startswith("code:"):
        values.update({name: int(number) for name, number in _ASSIGNED.findall(kind)})
    if kind == "local_chat":
        values["backend_type"] = "local_chat"
    if environment.get("USE_NUMA") == "1":
        values["use_numa"] = True
    findings = (*known.findings, *_paths(known, values), *wrapped)
    return _request(Read(known.model, values, findings, known.tensor, known.paths), environment, implied)


def _unwrapped(argv: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[Finding, ...]]:
    """The command behind ``numactl`` and its kin; what binds memory to one socket leaves the experts half of it."""
    if not argv or argv[0].rsplit("/", 1)[-1] not in _WRAPPERS:
        return argv, ()
    names = [word.rsplit("/", 1)[-1] for word in argv]
    first = next((at for at, name in enumerate(names) if at and (name in _PROGRAMS or name.startswith("python"))), len(argv))
    bound = any(word in {"-m", "--membind"} or word.startswith("--membind=") for word in argv[:first])
    text = "numactl -m lets the process have the memory of the named NUMA nodes only: all routed experts have to fit there"
    return argv[first:], (Finding(text=text, wrong=False),) if bound else ()


def _start(argv: tuple[str, ...]) -> tuple[str, tuple[str, ...]] | None:
    """Which program a command starts, and its arguments."""
    for index, word in enumerate(argv):
        rest = argv[index + 1 :]
        if word == "-m" and rest and rest[0] in _MODULES:
            return _MODULES[rest[0]], rest[1:]
        if word == "-c" and rest and ARGS_MODULE in rest[0]:
            return f"code:{rest[0][:_LONGEST]}", rest[1:]
        program = _program(word, rest[0] if rest else "")
        if program is not None:
            return program, rest[1:] if program in {"kt", "kernel"} else rest
        if word.startswith("-") and word != "-u":
            return None
    return None


def _program(word: str, verb: str) -> str | None:
    """The program that a word alone starts."""
    if word.endswith(_SCRIPTS) or word in {"local_chat.py", "./local_chat.py"}:
        return "local_chat" if "local_chat" in word else ""
    name = word.rsplit("/", 1)[-1]
    return {("kt", "run"): "kt", ("sglang", "serve"): "kernel"}.get((name, verb), "" if name == "ktransformers" else None)


def _implied(kind: str, rest: tuple[str, ...]) -> Version:
    """The release a classic command can be of: flags were renamed with 0.2.4, and 0.1 has none for lengths."""
    if kind.startswith("code:"):
        return release("0.1.4")
    names = {word.partition("=")[0] for word in rest}
    if names & {"--chunk_prefill_size", "--type", "--max_response_tokens"}:
        return release("0.2.3")
    if names & {"--max_chunk_size", "--optimize_rule_path"}:
        return release("0.2.1") if "--cache_lens" in names else release("0.1.4")
    return release("0.3.2")


def _kt_run(rest: tuple[str, ...], environment: Mapping[str, str]) -> Request:
    model = rest[0] if rest and not rest[0].startswith("-") else None
    known = read_kernel(rest[1:] if model else rest)
    note = Finding(text="`kt run` fills in kt_num_gpu_experts 1, max_total_tokens 40000, chunks of 4096 and a share of 0.98", wrong=False)
    return _request(Read(model, {**_KT_RUN, **known.values}, (*known.findings, note), known.tensor, known.paths), environment, None)


def _paths(known: Read, values: dict[str, Value]) -> tuple[Finding, ...]:
    """What the names of files tell: the type of the experts, and the GPUs and kernels of published rules."""
    folder = known.paths.get("gguf_path", "") or str(values.get("kt_weight_path") or "")
    gguf, rules = _GGUF.search(folder), known.paths.get("rules")
    if gguf is not None:
        values.setdefault("gguf_type", gguf[1].lower())
    if rules is None:
        return ()
    found = [Finding(text=f"the rules in {rules} are not read: say transfer_map, generate_op and chunk_size with --set", wrong=False)]
    if "fp8" in rules.lower():
        values["generate_op"] = "KLinearFP8"
        found.append(Finding(text=f"{rules} is taken for rules with KLinearFP8, by its name", wrong=False))
    return tuple(found)


def _devices(known: Read) -> Parallel:
    gpus = _GPUS.search(known.paths.get("rules", ""))
    return Parallel(tensor=known.tensor, pipeline=int(gpus[1] or 2) if gpus and gpus[1] != "0" else 1)


def _request(known: Read, environment: Mapping[str, str], implied: Version | None) -> Request:
    settings, findings = {}, list(known.findings)
    for name, value in known.values.items():
        try:
            settings[name] = validate(name, value)
        except InputError as error:
            findings.append(Finding(text=str(error)))
    if known.model is None:
        findings.append(Finding(text="no model is named: write " + ("--model_path NAME" if implied else "--model NAME")))
    parallel = _devices(known)
    return Request(
        engine="ktransformers",
        model=known.model,
        settings=Settings.of(settings),
        parallel=parallel,
        environment=tuple(sorted((name, value) for name, value in environment.items() if name in {"USE_NUMA", "CUDA_VISIBLE_DEVICES"})),
        findings=tuple(findings),
        version=implied,
        stated=frozenset({*settings, *(("parallel",) if parallel.devices > 1 else ())}),
    )
