"""Why a run ended: out of memory, in a way that the same command would end again, or otherwise."""

import re

from ullage.catalog.traceback_frames import AFTER_FACT
from ullage.domain.cause import Family
from ullage.domain.facts import ERROR, Fact
from ullage.domain.plan import Limit
from ullage.domain.supervision import Exited, Kind
from ullage.frozen import dataclass
from ullage.planning.diagnose_meaning import FAMILIES, KINDS, SUMMARIES, WRAPPERS, is_of_requests, limit_of
from ullage.units import format_bytes

_SIGILL, _SIGINT, _SIGKILL, _SIGTERM = 4, 2, 9, 15
_SHELL = 128  # a shell reports a signal as this and its number
_LONGEST = 300

# What is told of an error that is told elsewhere, or that has several causes.
_VAGUE = frozenset({"error.model_load", "error.context", "error.native", "error.device_lost", "error.profiling", "error.unbalanced"})

_MEMORY_TEXT = re.compile(
    r"MemoryError|std::bad_alloc|[Oo]ut of memory|[Cc]annot allocate memory|OutOfMemoryError|not enough memory|failed to allocate", re.ASCII
)
# A front that says how a part of it ended.
_KILLED_TEXT = re.compile(r"\bSIGKILL\b|\bsignal[ :=]{1,2}9\b|\bexit ?code[ :=]{1,3}(?:-9|137)\b", re.ASCII | re.IGNORECASE)
_PROCESS = f"{ERROR}process_memory"
_TOO_LITTLE = "the memory it may take does not even hold its libraries"
_HOPELESS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(text), why)
    for text, why in (
        (
            r"[Aa]ddress already in use|EADDRINUSE|couldn't bind|port \d+ is (?:already )?in use",
            "its port is in use: end what listens there",
        ),
        (r"unrecognized arguments?|[Ii]nvalid argument: -|unknown (?:argument|option)|no such option", "it does not know a flag"),
        (r"expected (?:one|at least one) argument|error: argument |invalid choice", "a flag has a value that it does not take"),
        (r"No module named|ModuleNotFoundError|ImportError|GLIBC_\d|error while loading shared libraries", "a part of it is not installed"),
        (
            r"(?:config\.json|[Mm]odel|gguf|weights).{0,120}(?:No such file|not found|does not exist|cannot find)|failed to open GGUF",
            "its model is not there",
        ),
        (
            r"Repository Not Found|is not a local folder|is not a valid model identifier|Incorrect path_or_model_id",
            "its model is not there",
        ),
        (
            r"invalid magic|not a GGUF|unknown model architecture|architectures? .{0,80} (?:is|are) not supported|Unsupported architecture",
            "it cannot read this model",
        ),
        (
            r"No CUDA GPUs are available|no CUDA-capable device|NVIDIA driver on your system is too old|libcuda\.so|Failed to infer device",
            "it finds no device that it can use",
        ),
        (r"out of memory while the libraries|failed to map segment|cannot allocate memory for thread-local data", _TOO_LITTLE),
        (r"Illegal instruction", "it was built for another processor"),
        (r"[Pp]ermission denied", "it may not read or run something it needs"),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What was found: the kind, the reason in words, what runs out where that is known, and a mark to know the same failure by."""

    kind: Kind
    reason: str
    mark: str = ""
    limit: Limit | None = None


def judge(exited: Exited, facts: tuple[Fact, ...], *, was_ready: bool) -> Failure:
    """The failure behind an exit nobody asked for."""
    errors = tuple(fact for fact in facts if _is_cause(fact))
    began = any(fact.name in AFTER_FACT for fact in facts)
    memory = next((fact for fact in reversed(errors) if _is_memory(fact, began=began)), None)
    if memory is not None:
        return _failure(Kind.OUT_OF_MEMORY, exited, _told(memory), memory, limit_of(memory.name) or Limit.HOST)
    hopeless = _hopeless(exited, errors, was_ready=was_ready)
    if hopeless:
        return _failure(Kind.HOPELESS, exited, hopeless)
    told = next((line for line in reversed(exited.tail) if _MEMORY_TEXT.search(line)), None)
    if told is not None:
        return _failure(Kind.OUT_OF_MEMORY, exited, told.strip()[:_LONGEST], limit=Limit.HOST)
    if exited.killed_for_memory and _was_killed(exited):
        return _failure(Kind.OUT_OF_MEMORY, exited, "the kernel killed it to free host memory", limit=Limit.HOST)
    broke = next((fact for fact in facts if fact.name in WRAPPERS), None)
    if was_ready and _in_order(exited) and not (exited.code == 0 and (errors or broke)):
        return _failure(Kind.STOPPED, exited, "somebody else ended it")
    cause = errors[-1] if errors else broke  # a front may end in order, with 0, after what it stands before has died
    return _failure(Kind.CRASHED, exited, _told(cause) if cause is not None else _last(exited), cause)


def _was_killed(exited: Exited) -> bool:
    """Whether it, or a part of it by its own words, was killed as the kernel kills: a signal that cannot be caught."""
    return _signal(exited) == _SIGKILL or any(_KILLED_TEXT.search(line) for line in exited.tail)


def _is_cause(fact: Fact) -> bool:
    return fact.is_error and not is_of_requests(fact.name)


def _is_memory(fact: Fact, *, began: bool) -> bool:
    """Whether a setting may help: an abort of the process itself only after it has ``began`` to load."""
    return limit_of(fact.name) is not None or (began and fact.name == _PROCESS)


def _hopeless(exited: Exited, errors: tuple[Fact, ...], *, was_ready: bool) -> str:
    """Why the same command would end the same way; empty where it might not."""
    if _signal(exited) == _SIGILL:
        return "it was built for another processor (illegal instruction): install the build for this one"
    if was_ready:
        return ""
    refusal = next((fact for fact in reversed(errors) if fact.name not in _VAGUE), None)
    refused = _refused(refusal) if refusal is not None else ""
    by_code = f"{_REFUSALS[exited.code]} ({_last(exited)})" if exited.code in _REFUSALS else ""
    return _hopeless_text(exited.tail) or refused or by_code


def _refused(fact: Fact) -> str:
    if fact.name == _PROCESS:  # before it began to load: no setting is at fault
        return f"{_TOO_LITTLE} ({_told(fact)})"
    return f"it refuses these settings ({_told(fact)})"


_REFUSALS: dict[int | None, str] = {
    0: "it ended by itself before it answered a request",
    2: "it does not take this command",
    126: "its program cannot be run",
    127: "there is no such program here",
}


def _hopeless_text(tail: tuple[str, ...]) -> str:
    for line in reversed(tail):
        why = next((why for pattern, why in _HOPELESS if pattern.search(line)), None)
        if why is not None:
            return f"{why} ({line.strip()[:_LONGEST]})"
    return ""


def _signal(exited: Exited) -> int | None:
    if exited.signal is not None:
        return exited.signal
    return exited.code - _SHELL if exited.code is not None and _SHELL < exited.code < _SHELL + 64 else None


def _in_order(exited: Exited) -> bool:
    """Whether this is how a server ends that was told to."""
    return exited.code == 0 or _signal(exited) in {_SIGTERM, _SIGINT}


def _failure(kind: Kind, exited: Exited, reason: str, fact: Fact | None = None, limit: Limit | None = None) -> Failure:
    words = fact.name if fact is not None else re.sub(r"\d+", "#", reason)
    return Failure(kind=kind, reason=reason, mark=f"{kind}/{exited.code}/{exited.signal}/{words}", limit=limit)


def _told(fact: Fact) -> str:
    kind = KINDS.get(fact.name)
    details = ", ".join(_detail(key, value) for key, value in fact.details)
    if kind is not None and FAMILIES.get(kind) is Family.HOST:
        asked = f", {format_bytes(fact.value)} were asked for" if fact.unit == "bytes" and isinstance(fact.value, int) else ""
        said = SUMMARIES[kind] + asked
    else:
        said = f"{fact.name.removeprefix(ERROR).replace('_', ' ')}: {fact.value} {fact.unit}".strip()
    return f"{said} ({details})"[:_LONGEST] if details else said[:_LONGEST]


def _detail(key: str, value: object) -> str:
    if key == "doing":
        return str(value)
    size = format_bytes(value) if key.endswith("_bytes") and isinstance(value, int) else value
    return f"{key.removesuffix('_bytes').replace('_', ' ')} {size}"


def _last(exited: Exited) -> str:
    """How it ended, and the last thing it said."""
    number = _signal(exited)
    how = f"killed by signal {number}" if number is not None else f"exit code {exited.code}"
    line = next((line.strip() for line in reversed(exited.tail) if line.strip()), "")
    return f"{how}; its last line: {line[:_LONGEST]}" if line else how
