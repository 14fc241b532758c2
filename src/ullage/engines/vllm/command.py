"""Write the command that starts a case, in the spelling of its release."""

from ullage.catalog.at_load import made_at_load
from ullage.domain.case import Case, Settings, Value
from ullage.domain.plan import Command
from ullage.engines.vllm.flags import flag_called
from ullage.engines.vllm.flags_kinds import SERVE_SINCE, SERVER_MODULE, Release
from ullage.engines.vllm.flags_values import write_value
from ullage.engines.vllm.processor import allocator, on_processor
from ullage.engines.vllm.resolve import defaults
from ullage.frozen import replace

LOCAL = "127.0.0.1"
_DUAL_CHUNK: tuple[Release, Release] = ((0, 9, 0), (0, 10, 2))
_DUAL_CHUNK_ENVIRONMENT = (("VLLM_ATTENTION_BACKEND", "DUAL_CHUNK_FLASH_ATTN"), ("VLLM_USE_V1", "0"))
_DEGREES = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "enable_expert_parallel")


def command(case: Case) -> Command:
    """``vllm serve MODEL --flag …``, or the module before there was ``vllm serve``; only what was stated or differs from a default.

    On a processor the module too: the distribution for processors has another name, and its ``vllm`` stops as it finds no ``vllm``.
    """
    at = case.version.parts
    if at >= SERVE_SINCE and not on_processor(case):
        start: tuple[str, ...] = ("vllm", "serve", case.model.argument)
    else:
        start = ("python", "-m", SERVER_MODULE, "--model", case.model.argument)
    chosen = {**_degrees(case), **_at_load(case), **_chosen(case)}
    host: dict[str, Value] = {} if case.settings.has("host") or case.settings.has("uds") else {"host": LOCAL}
    words = tuple(word for name, value in {**chosen, **host}.items() for word in _words(name, value, at))
    return Command(argv=(*start, *words), environment=_environment(case))


def _words(name: str, value: Value, at: Release) -> tuple[str, ...]:
    """The words for one setting; none where the release has no such flag."""
    flag = flag_called(name)
    return write_value(flag, value, at) if flag is not None and flag.is_in(at) else ()


def _at_load(case: Case) -> dict[str, Value]:
    """What has the engine quantise while it loads, for a model that is planned so."""
    made = made_at_load(case)
    return dict(made.settings) if made is not None else {}


def _degrees(case: Case) -> dict[str, Value]:
    """Degrees of parallelism other than one."""
    parallel = case.parallel
    values = (parallel.tensor, parallel.pipeline, parallel.data)
    found: dict[str, Value] = {name: value for name, value in zip(_DEGREES[:3], values, strict=True) if value != 1 or name in case.stated}
    if parallel.expert:
        found[_DEGREES[3]] = True
    return found


def _chosen(case: Case) -> dict[str, Value]:
    """The settings that have to be said, so that the release's own defaults lead to all the others."""
    wanted = {name: value for name, value in case.settings.items if value is not None and name not in _DEGREES}
    alone = replace(case, workload=replace(case.workload, context_tokens=None))  # the server knows no length but what it is told
    known = set(defaults(replace(alone, settings=Settings())))
    said = {name for name in wanted if name in case.stated or name not in known}
    if "enforce_eager" in wanted and _uses_dual_chunk(case):
        said.add("enforce_eager")  # the backend asserts it
    while True:
        found = defaults(replace(alone, settings=Settings.of({name: wanted[name] for name in said})))
        missing = {name for name in wanted if name not in said and found.get(name) != wanted[name]}
        if not missing:
            return {name: value for name, value in wanted.items() if name in said}
        said |= missing


def _uses_dual_chunk(case: Case) -> bool:
    first, last = _DUAL_CHUNK
    return case.model.architecture.dual_chunk is not None and first <= case.version.parts <= last


def _environment(case: Case) -> tuple[tuple[str, str], ...]:
    """What was given, and what dual chunk attention needs in the releases that have it."""
    needed = dict(_DUAL_CHUNK_ENVIRONMENT) if _uses_dual_chunk(case) else {}
    if on_processor(case):
        needed |= allocator(case)
    return tuple({**needed, **dict(case.environment)}.items())
