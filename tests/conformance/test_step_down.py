"""What is changed after running out of memory: every step is another command, and one that helps where the engine died."""

import pytest
from tests.conformance.test_commands_read_back import ask

from ullage.domain.case import Case
from ullage.domain.facts import Fact
from ullage.domain.ledger import Phase, Purpose
from ullage.domain.machine import HOST
from ullage.domain.plan import Command, Limit
from ullage.domain.supervision import Launch
from ullage.engines import engines, find, first_aid
from ullage.errors import InputError
from ullage.planning.answer import answer
from ullage.planning.step_down import adviser, next_remedies

NAMES = sorted(engines())
STEPS = 4
LOADING = (Fact(name="loading", value="the weights"), Fact(name="error.host_oom", value="out of memory"))


def made(_before: Case, after: Case, _command: Command) -> Command:
    engine = find(after.engine)
    return engine.command(engine.resolve(after))


def first(name: str) -> Launch:
    engine = find(name)
    case = ask(engine, engine.profile.default, ("Qwen3-8B", 79.19, 1, 4096, 8))
    return Launch(command=engine.command(engine.resolve(case)), case=case)


@pytest.mark.parametrize("limit", [Limit.WORKSPACE, Limit.HOST, Limit.WEIGHTS])
@pytest.mark.parametrize("name", NAMES)
def test_each_step_down_is_another_command(name: str, limit: Limit) -> None:
    engine, launch = find(name), first(name)
    advise = adviser(engine, next_remedies(engine, first_aid(name)), made)
    for _ in range(STEPS):
        step = advise(launch, (), limit)
        if step is None:
            return
        assert step.launch.command != launch.command, step.text
        launch = step.launch


@pytest.mark.parametrize("name", NAMES)
def test_what_cannot_be_made_another_command_is_passed_over_for_what_can(name: str) -> None:
    engine, launch = find(name), first(name)
    assert launch.case is not None
    found = next_remedies(engine, first_aid(name))(launch.case, answer(engine, launch.case), (), Limit.WORKSPACE)
    others = [remedy.changes for remedy in found[1:] if made(launch.case, remedy.case, launch.command) != launch.command]
    if not others:
        return
    refused = found[0].case
    advise = adviser(engine, next_remedies(engine, first_aid(name)), lambda old, new, was: was if new == refused else made(old, new, was))
    step = advise(launch, (), Limit.WORKSPACE)
    assert step is not None
    assert step.changes == others[0]

    def failing(old: Case, new: Case, was: Command) -> Command:
        if new == refused:
            raise InputError("it cannot be made ready")
        return made(old, new, was)

    assert adviser(engine, next_remedies(engine, first_aid(name)), failing)(launch, (), Limit.WORKSPACE) == step


@pytest.mark.parametrize("name", NAMES)
def test_an_engine_that_died_as_it_loaded_is_offered_only_what_loading_takes_less_for(name: str) -> None:
    engine, launch = find(name), first(name)
    assert launch.case is not None

    def loading(case: Case) -> int:
        ledger = engine.ledger(engine.resolve(case))
        named = {entry.device for entry in ledger.entries}
        at = HOST if HOST in named else "gpu0"
        return max(ledger.at(at, Phase.LOAD).expected, ledger.of(at, Purpose.WEIGHTS).expected + ledger.of(at, Purpose.BUFFERS).expected)

    plan = answer(engine, launch.case)
    if plan.remedies:
        return
    for remedy in next_remedies(engine, first_aid(name))(launch.case, plan, LOADING, Limit.HOST):
        assert loading(remedy.case) < loading(launch.case), remedy.changes
