"""Write the command that starts a case, in the spelling of its release."""

from ullage.catalog.at_load import made_at_load
from ullage.domain.case import Case, Settings, Value
from ullage.domain.plan import Command
from ullage.engines.sglang.flags import write_value
from ullage.engines.sglang.resolve import attention_data, defaults, has_dual_chunk
from ullage.frozen import replace

LOCAL, PORT = "127.0.0.1", 30000
MODULE = "sglang.launch_server"
SERVE_SINCE = (0, 5, 10)
_DEGREES = ("tp_size", "pp_size", "dp_size", "ep_size", "enable_ep_moe")


def command(case: Case) -> Command:
    """``sglang serve`` or, before it was the way, ``python -m sglang.launch_server``; only what was stated or differs from a default."""
    at = case.version.parts
    start = ("sglang", "serve") if at >= SERVE_SINCE else ("python", "-m", MODULE)
    where: dict[str, Value] = {"host": LOCAL, "port": PORT}
    made = made_at_load(case)
    quantised: dict[str, Value] = dict(made.settings) if made is not None else {}
    settings = {
        **_degrees(case),
        **quantised,
        **_chosen(case),
        **{name: value for name, value in where.items() if not case.settings.has(name)},
    }
    words = tuple(word for name, value in settings.items() for word in write_value(name, value, at))
    return Command(argv=(*start, "--model-path", case.model.argument, *words), environment=case.environment)


def _degrees(case: Case) -> dict[str, Value]:
    """Degrees of parallelism other than one; data-parallel attention lies inside the tensor-parallel ranks."""
    parallel = case.parallel
    data = attention_data(case) if case.settings.flag("enable_dp_attention") else parallel.data
    found: dict[str, Value] = {
        name: value for name, value in (("tp_size", parallel.tensor), ("pp_size", parallel.pipeline), ("dp_size", data)) if value > 1
    }
    if parallel.expert:
        found |= {"enable_ep_moe": True} if case.version.parts < (0, 5, 0) else {"ep_size": parallel.tensor}
    return found


def _chosen(case: Case) -> dict[str, Value]:
    """The settings that have to be said, so that the release's own defaults lead to all the others."""
    wanted = {name: value for name, value in case.settings.items if value is not None and name not in _DEGREES}
    unasked = replace(case, workload=replace(case.workload, context_tokens=None))
    inside = {"dp_size": case.settings.get("dp_size")} if case.settings.has("dp_size") else {}
    said = {name: value for name, value in wanted.items() if name in case.stated}
    if has_dual_chunk(case) and "attention_backend" in wanted:
        said["attention_backend"] = wanted["attention_backend"]  # later releases ask for it by name
    for _ in wanted:
        found = defaults(replace(unasked, settings=Settings.of({**said, **inside})))
        missing = {name: value for name, value in wanted.items() if name not in said and (name not in found or found[name] != value)}
        if not missing:
            break
        first = min(missing, key=lambda name: (name in {"chunked_prefill_size", "mem_fraction_static"}, name))
        said[first] = missing[first]
    return {name: value for name, value in wanted.items() if name in said}
