"""What every engine must do, asked of each that exists and of the worked example in CONTRIBUTING.md."""

import re
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cases import bundled, machine

import ullage.engines
from ullage.domain.case import Case
from ullage.domain.engine import Engine
from ullage.domain.plan import Verdict
from ullage.domain.workload import Workload
from ullage.engines import engines, find
from ullage.planning.fit import evaluate
from ullage.planning.remedy import remedies
from ullage.planning.search import solve

ROOT = Path(__file__).parent.parent.parent
NAMES = sorted(engines())
CARD = ("NVIDIA H100 80GB", 79.19, (9, 0))
MODEL = "Qwen3-8B"


def question(engine: Engine, gib: float = 79.19, context: int | None = 2048) -> Case:
    kind = "cuda" if "cuda" in engine.profile.device_kinds else min(engine.profile.device_kinds)
    name, _, capability = CARD
    there = machine((name, gib, capability), 1)
    devices = tuple(type(device)(**{**{f: getattr(device, f) for f in device.__slots__}, "kind": kind}) for device in there.devices)
    return Case(
        model=bundled(MODEL),
        engine=engine.profile.name,
        version=engine.profile.default,
        machine=type(there)(devices=devices, host=there.host),
        workload=Workload(context_tokens=context),
    )


def check_engine(engine: Engine) -> None:
    plan = solve(engine, question(engine))
    assert plan.verdict in {Verdict.FITS, Verdict.TIGHT}, plan.binding
    for entry in plan.ledger.entries:
        assert 0 <= entry.amount.low <= entry.amount.expected <= entry.amount.high
        assert entry.because
    assert plan.command.argv


@pytest.mark.parametrize("name", NAMES)
def test_a_model_that_plainly_fits_is_planned(name: str) -> None:
    check_engine(find(name))


@pytest.mark.parametrize("name", NAMES)
def test_a_card_that_is_too_small_is_said_to_be(name: str) -> None:
    engine = find(name)
    outcome = evaluate(engine, question(engine, gib=2))
    assert outcome.verdict in {Verdict.DOES_NOT_FIT, Verdict.REFUSED}
    for remedy in remedies(engine, outcome):
        assert evaluate(engine, remedy.case).verdict is remedy.verdict


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60, deadline=None)
@given(st.text(max_size=300))
def test_no_log_line_and_no_metrics_page_raises(name: str, text: str) -> None:
    engine = find(name)
    engine.read_log_line(text)
    engine.read_metrics(text)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=20), max_size=8))
def test_no_command_raises(name: str, words: list[str]) -> None:
    find(name).read_command(tuple(words), {}, None)


@pytest.mark.parametrize("name", NAMES)
def test_the_profile_is_complete(name: str) -> None:
    profile = find(name).profile
    assert profile.name == name
    assert profile.oldest <= profile.default <= profile.newest
    assert profile.knobs
    assert all(knob.meaning and knob.default for knob in profile.knobs)


def test_the_worked_example_is_an_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(\"\"\"A small server.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), flags=re.DOTALL)
    (tmp_path / "simple_server.py").write_text(code)
    monkeypatch.setattr(ullage.engines, "__path__", [*ullage.engines.__path__, str(tmp_path)])
    ullage.engines.names.cache_clear()
    try:
        engine = find("simple-server")
        check_engine(engine)
        request = engine.read_command(engine.command(engine.resolve(question(engine))).argv, {}, None)
        assert request is not None
        assert request.settings.integer("cache_tokens") == 2048
    finally:
        ullage.engines.names.cache_clear()
        sys.modules.pop("ullage.engines.simple_server", None)
