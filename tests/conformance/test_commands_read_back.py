"""The command a plan emits, read back as a stranger would: the same settings, the same ledger, in several releases of every engine."""

import pytest
from tests.cases import bundled

from ullage.domain.case import Case, Settings, Value, Version
from ullage.domain.engine import Engine
from ullage.domain.machine import HOST, Device, Machine
from ullage.domain.plan import Plan, Verdict
from ullage.domain.workload import Workload
from ullage.engines import engines, find
from ullage.planning.search import solve
from ullage.units import GiB

# A release or two between the oldest and the newest, where spellings and defaults were others.
BETWEEN = {
    "exllamav2": ("0.1.4",),
    "exllamav3": ("0.0.20",),
    "ipex_llm": ("2.1.0b20240914",),
    "ktransformers": ("0.2.3", "0.3.2"),
    "llama_cpp": ("4000", "8000"),
    "sglang": ("0.4.6", "0.5.5"),
    "transformers": ("4.46.0", "5.4.0"),
    "vllm": ("0.4.2", "0.8.5", "0.10.2", "0.20.0"),
}
# Model, GiB of a card, cards, context, sequences at once.
QUESTIONS = (
    ("Qwen3-8B", 79.19, 1, 2048, 1),
    ("Qwen3-8B", 23.5, 1, None, 8),
    ("Qwen2.5-14B", 23.5, 2, 16384, 4),
    ("DeepSeek-V2-Lite", 23.5, 2, 8192, 2),
    ("Qwen3-30B-A3B", 79.19, 1, 4096, 64),
)
# What has to be said so that an engine is started by a command and not by a script of ours.
SERVED: dict[str, dict[str, Value]] = {"transformers": {"continuous_batching": True}}


def releases(engine: Engine) -> list[Version]:
    profile = engine.profile
    between = (Version(tuple(int(part) for part in text.partition("b")[0].split(".")), text) for text in BETWEEN.get(profile.name, ()))
    return sorted({profile.oldest, *between, profile.default, profile.newest})


def ask(engine: Engine, release: Version, question: tuple[str, float, int, int | None, int]) -> Case:
    model, gib, count, context, sequences = question
    kind = next(kind for kind in ("cuda", "xpu", "cpu") if kind in engine.profile.device_kinds)
    name = "NVIDIA GeForce RTX 4090" if kind == "cuda" else "Intel Arc"
    cards = tuple(Device(id=f"gpu{i}", kind=kind, name=name, total_bytes=int(gib * GiB), compute_capability=(8, 9)) for i in range(count))
    said = {name for name, given in (("context", context is not None), ("concurrency", sequences > 1)) if given}
    return Case(
        model=bundled(model),
        engine=engine.profile.name,
        version=release,
        machine=Machine(devices=cards, host=Device(id=HOST, kind="cpu", name="host memory", total_bytes=512 * GiB)),
        workload=Workload(context_tokens=context, concurrent_sequences=sequences),
        settings=Settings.of(SERVED.get(engine.profile.name, {})),
        stated=frozenset({*said, *SERVED.get(engine.profile.name, {})}),
    )


def read_back(engine: Engine, plan: Plan) -> Case:
    """The case that the emitted command describes to somebody who knows the model, the machine and how many ask at once, but no length."""
    request = engine.read_command(plan.command.argv, dict(plan.command.environment), plan.case.version)
    assert request is not None, plan.command.argv
    assert not [finding.text for finding in request.findings if finding.wrong]
    assert request.model is not None
    return engine.resolve(
        Case(
            model=plan.case.model,
            engine=engine.profile.name,
            version=plan.case.version,
            machine=plan.case.machine,
            parallel=plan.case.parallel if plan.command.files else request.parallel,  # a file may hold the layout
            workload=Workload(concurrent_sequences=plan.case.workload.concurrent_sequences),
            settings=request.settings,
            environment=request.environment,
            stated=request.stated,
        )
    )


CASES = [
    pytest.param(name, release, question, id=f"{name}-{release}-{question[0]}-{question[2]}x{question[1]:.0f}")
    for name in sorted(engines())
    for release in releases(find(name))
    for question in QUESTIONS
]


@pytest.mark.parametrize(("name", "release", "question"), CASES)
def test_the_emitted_command_alone_leads_to_the_same_ledger(
    name: str, release: Version, question: tuple[str, float, int, int | None, int]
) -> None:
    engine = find(name)
    plan = solve(engine, ask(engine, release, question), remedies=False)
    if plan.verdict is Verdict.REFUSED:
        return  # there is nothing to start
    again = read_back(engine, plan)
    settled = again.settings
    assert not [(key, value) for key, value in plan.case.settings.items if settled.get(key) not in {value, None}]
    assert engine.ledger(again) == plan.ledger


@pytest.mark.parametrize("name", sorted(engines()))
def test_the_default_release_starts_a_command_that_names_its_files(name: str) -> None:
    engine = find(name)
    plan = solve(engine, ask(engine, engine.profile.default, QUESTIONS[0]), remedies=False)
    assert plan.verdict in {Verdict.FITS, Verdict.TIGHT}, plan.binding
    assert all(file in " ".join(plan.command.argv) for file, _ in plan.command.files[:1])
