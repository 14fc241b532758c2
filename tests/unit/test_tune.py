"""A tuning's words, its journal, its dials and its pictures."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from ullage import engines
from ullage.commands.trial import Measured, cut_short
from ullage.commands.tune import VERB
from ullage.commands.tuning import from_levers, read_tuning, seconds
from ullage.commands.verb import Flags
from ullage.domain.baseline import Trial, TrialState
from ullage.domain.case import Settings
from ullage.domain.ledger import Amount
from ullage.domain.load import Answered, Asked, Load, Round
from ullage.domain.plan import Verdict
from ullage.domain.tuning import Ask, Dial, Ended, Estimate, Objective, Shown, Study, Told
from ullage.errors import InputError
from ullage.frozen import replace
from ullage.planning.answer import answer
from ullage.planning.tune import AGAIN, ALONE, ask
from ullage.planning.tune_compare import estimate
from ullage.planning.tune_journal import figure, figures_of, point_of, speed_of, told_of
from ullage.planning.tune_words import asked, holds, in_words, judged, shows
from ullage.report.as_text import Look, plain_text
from ullage.report.pareto_svg import svg
from ullage.report.pareto_text import drawn
from ullage.report.tune_document import tuned_document
from ullage.report.tune_result import Tuned, marks
from ullage.world import real

DIALS = (Dial(setting="chunk", values=(256, 512, 1024)), Dial(setting="max_seqs", values=(None, 8)))
ASKED = {"gpu": "24GiB", "engine": "vllm", "workload": "512:64", "offline": True}


def tuning(model: str = "Qwen3-0.6B", **said: object) -> object:
    return read_tuning(flags(model, **said), real.world(offline=True))


def flags(model: str = "Qwen3-0.6B", **said: object) -> Flags:
    return VERB.flags({"model": model, **ASKED, **said})


def rounds(*speeds: float, first_s: float = 0.1) -> tuple[Round, ...]:
    return tuple(Round(seconds=10 / speed, answered=(Answered(first_s=first_s, last_s=first_s + 0.9, tokens=10),)) for speed in speeds)


def trial(number: int, point: tuple[int, int], *speeds: float, seen: int | None = None, state: TrialState = TrialState.DONE) -> Trial:
    settings = {dial.setting: dial.values[at] for dial, at in zip(DIALS, point, strict=True) if dial.values[at] is not None}
    return Trial(
        study="s",
        number=number,
        at=datetime(2026, 11, 21, tzinfo=UTC),
        settings=Settings.of(settings),
        state=state,
        figures=figures_of(rounds(*speeds), 12.0, seen),
        peak=Amount.exactly(100 * number),
        because="a <step> & more",
    )


def test_a_step_names_what_was_turned_what_it_brought_and_whether_it_stays() -> None:
    assert in_words(DIALS, (0, 0), (1, 0)) == "chunk 256 -> 512"
    assert in_words(DIALS, (0, 0), (1, 1)) == "chunk 256 -> 512, max_seqs default -> 8"
    assert in_words(DIALS, None, (2, 0)) == "start at chunk=1024, max_seqs=default"
    study = Study(sizes=(3, 2), start=(0, 0))
    wanted = Ask(point=(1, 0), base=(0, 0), stage=ALONE)

    def said(study: Study, speed: float, objective: Objective = Objective.THROUGHPUT) -> tuple[bool, str, str]:
        return judged(study, objective, (told(100.0), told(speed, (1, 0))), wanted)

    assert said(study, 111) == (True, "+11 % throughput (+10 to +12)", "kept")
    less = replace(study, more_is_better=False)
    assert said(less, 111, Objective.TTFT) == (False, "+11 % time to the first token (+10 to +12)", "worse, rolled back")
    assert said(study, 99)[2] == "no difference worth a step is shown, rolled back"
    assert said(study, 100)[2] == "too near to tell, rolled back"
    planned = replace(study, ranked=((1, 0), (0, 0)))
    assert said(planned, 80)[::2] == (False, "slower by more than 10%, rolled back")
    assert said(planned, 95)[::2] == (True, "kept")


def test_a_step_too_near_to_tell_is_measured_again_beside_the_best_and_says_so() -> None:
    study = Study(sizes=(3, 2), start=(0, 0), unrest=0.03, least_gain=0.03, most_trials=20)
    so_far = (told(100.0), told(106.0, (1, 0)))
    first = Ask(point=(1, 0), base=(0, 0), stage=ALONE)
    assert judged(study, Objective.THROUGHPUT, so_far, first)[::2] == (False, "too near to tell: measured again")
    again = ask(study, so_far)
    assert isinstance(again, Ask)
    assert (again.point, again.rival) == ((0, 0), (1, 0))
    assert asked(DIALS, again) == "again chunk=256 beside chunk=512"
    assert "over 3 starts" in judged(study, Objective.THROUGHPUT, (*so_far, told(101.0)), again)[1]


def told(speed: float, point: tuple[int, int] = (0, 0)) -> Told:
    return Told(point=point, state=TrialState.DONE, speed=Estimate(mean=speed, deviation=1, count=5), seconds=1.0)


def test_a_row_says_of_its_own_settings_whether_they_stay() -> None:
    study = Study(sizes=(3, 2), start=(0, 0), unrest=0.3, least_gain=0.03, most_trials=20)
    so_far = (told(100.0), told(106.0, (1, 0)))
    again = Ask(point=(0, 0), base=(0, 0), stage=AGAIN, rival=(1, 0))
    is_kept, brought, fate = judged(study, Objective.THROUGHPUT, (*so_far, told(120.0)), again)
    assert (is_kept, fate) == (True, "too near to tell, kept")
    assert brought.startswith("the other -")
    is_kept, _, fate = judged(study, Objective.THROUGHPUT, (*so_far, told(80.0)), again)
    assert (is_kept, fate) == (False, "rolled back")


def test_a_tuning_is_one_where_something_was_compared() -> None:
    study = Study(sizes=(3, 2), start=(0, 0))
    assert shows(study, (told(100.0),), (0, 0)) is Shown.ALONE
    assert shows(study, (told(100.0), told(120.0, (1, 0))), (1, 0)) is Shown.BEST
    near = (told(100.0), told(101.0, (1, 0)))
    assert shows(replace(study, unrest=0.3), near, (0, 0)) is Shown.NEAR
    assert shows(replace(study, ranked=((0, 0), (1, 0))), (told(100.0),), (0, 0)) is Shown.BEST
    assert shows(replace(study, ranked=((1, 0), (0, 0))), (told(100.0),), (0, 0)) is Shown.ALONE
    one = result(trial(1, (0, 0), 10, 10))._replace(shown=Shown.ALONE)
    text = plain_text(tuned_document(one), Look(120, is_ascii=True))
    assert "NOT TUNED" in text
    assert "more --budget" in " ".join(text.split())


def test_how_many_trials_a_budget_holds_is_said_by_the_longest_so_far() -> None:
    study = Study(sizes=(3, 2), start=(0, 0), budget_s=120.0)
    assert "at most 8 trials of 15 s" in holds(study, (), 15.0)
    long = replace(told(100.0), seconds=50.0)
    assert holds(study, (long,), 15.0) == "70 s of the budget left, enough for 1 trial as long as the longest, 50 s"


def test_settings_that_were_measured_twice_are_one_point_with_all_their_rounds() -> None:
    found = marks(result(trial(1, (0, 0), 10, 12, seen=50), trial(2, (1, 0), 9, 9, seen=70), trial(3, (0, 0), 20, 22, seen=60)))
    assert [(one.numbers, one.nbytes, one.tokens_per_s, one.is_best) for one in found] == [
        ((1, 3), 60, pytest.approx(16.0), True),
        ((2,), 70, pytest.approx(9.0), False),
    ]
    whole = speed_of(found[0].trial, Objective.THROUGHPUT)
    assert whole is not None
    both = estimate([10.0, 12.0, 20.0, 22.0])
    assert (whole.mean, whole.deviation, whole.count) == (pytest.approx(both.mean), pytest.approx(both.deviation), 4)


def test_a_journal_is_read_back_as_what_the_search_was_told() -> None:
    trials = (trial(1, (0, 0), 10, 11, 12), trial(2, (1, 0), 20, 20, state=TrialState.STARTED), trial(3, (2, 1), state=TrialState.FAILED))
    found = told_of(trials, DIALS, Objective.THROUGHPUT)
    assert [one.point for one in found] == [(0, 0), (2, 1)]
    assert found[0].speed == Estimate(mean=pytest.approx(11.0), deviation=pytest.approx(1.0), count=3)
    assert found[1].speed is None
    assert found[0].seconds == 12.0
    first = speed_of(trials[0], Objective.TTFT)
    assert first is not None
    assert first.mean == pytest.approx(0.1)
    assert figure(trials[0], "between_tokens") == pytest.approx(0.1)
    with pytest.raises(InputError, match="--study"):
        point_of(replace(trials[0], settings=Settings.of({"chunk": 7})), DIALS)


def result(*trials: Trial) -> Tuned:
    load = Load(requests=(Asked(0.0, 1, 1),), clients=1, vocabulary=10)
    best = trials[-1] if trials else None
    return Tuned("s", Objective.THROUGHPUT, DIALS, trials, best, None, "because", 0, load, ())


def test_the_front_holds_what_nothing_beats_in_speed_and_memory() -> None:
    found = marks(result(trial(1, (0, 0), 10, 10), trial(2, (1, 0), 9, 9), trial(3, (2, 0), 30, 30), trial(4, (2, 1), 20, 20)))
    assert [one.trial.number for one in found if one.is_front] == [1, 3]
    assert [one.trial.number for one in found if one.is_best] == [4]
    mixed = marks(result(trial(1, (0, 0), 10, 10, seen=5000), trial(2, (1, 0), 9, 9)))
    assert [one.nbytes for one in mixed] == [100, 200], "promised where one was not seen"


def test_the_pictures_show_every_trial_once() -> None:
    tuned = result(trial(1, (0, 0), 10, 10), trial(2, (1, 0), 19, 19), trial(3, (2, 0), 30, 30))
    text = drawn(marks(tuned))
    assert (text.count("@"), text.count("*"), text.count("o ")) == (2, 3, 1)
    root = ET.fromstring(svg(tuned))  # noqa: S314 - our own
    assert len(root.findall(".//{*}circle")) == 3
    assert ET.fromstring(svg(result())) is not None  # noqa: S314 - as above


@pytest.mark.parametrize("name", ["vllm", "sglang", "llama_cpp", "runtime"])
def test_every_dial_is_a_setting_of_its_engine_with_values_it_takes(name: str) -> None:
    engine = engines.find(name)
    turned = engines.dials(name)
    assert turned is not None
    gpu = "cpu" if name == "runtime" else "24GiB"
    found: Mapping[str, object] = {"gpu": gpu, "engine": name, "workload": "512:64", "quality": True, "host_memory": "32GiB"}
    asked = read_tuning(VERB.flags({"model": "Qwen3-0.6B", **found}), real.world(offline=True))
    assert len(asked.dials) >= 3
    for dial in asked.dials:
        for value in dial.values:
            assert value is None or engine.validate(dial.setting, value) == value
        assert len(set(dial.values)) == len(dial.values)


@pytest.mark.parametrize(("speeds", "state", "said"), [((10, 11), "started", "2 rounds"), ((10, 11, 12), "done", "3 rounds")])
def test_what_was_measured_before_it_was_stopped_is_kept_or_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, speeds: tuple[float, ...], state: str, said: str
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    measured = cut_short(Measured(rounds(*speeds), 5.0, None, "gpu0", "it was asked to stop"))
    monkeypatch.setattr("ullage.commands.tune.run_trial", lambda *_: measured)
    ended = VERB.run(flags(program="true", json=True, knob=("max_num_seqs=16,32",)), real.world(offline=True))
    values = ended.json
    assert isinstance(values, dict)
    assert f"stopped; {said if state == 'started' else 'the ' + said}" in str(values["reason"])
    assert [one["state"] for one in values["trials"]] == [state]  # type: ignore[index, union-attr, call-overload]
    assert (values["best"], ended.exit_code) == ((1, 0) if state == "done" else (None, 1))


def test_a_journal_is_shown_again_by_its_name_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    measured = cut_short(Measured(rounds(10, 11, 12), 5.0, None, "gpu0", "it was asked to stop"))
    monkeypatch.setattr("ullage.commands.tune.run_trial", lambda *_: measured)
    world = real.world(offline=True)
    first = VERB.run(flags(program="true", json=True, concurrency=3, all=True, knob=("max_num_seqs=16,32",)), world).json
    assert isinstance(first, dict)
    again = VERB.run(VERB.flags({"replay": True, "study": first["study"], "json": True}), world).json
    assert isinstance(again, dict)
    assert [again[key] for key in ("study", "objective", "load", "trials", "best", "settings")] == [
        first[key] for key in ("study", "objective", "load", "trials", "best", "settings")
    ]
    with pytest.raises(InputError, match="no journal is called nobody"):
        VERB.run(VERB.flags({"replay": True, "study": "nobody"}), world)
    with pytest.raises(InputError, match="--replay --study NAME"):
        VERB.run(VERB.flags({"workload": "64:8"}), world)


def test_a_trial_that_was_cut_short_is_not_called_nothing_and_few_trials_take_few_lines() -> None:
    begun = trial(1, (0, 0), state=TrialState.STARTED)
    text = plain_text(tuned_document(result(begun)._replace(best=None)), Look(120, is_ascii=True))
    assert "NOTHING RAN" not in text
    assert "NO RESULT" in text
    assert "NOTHING RAN" in plain_text(tuned_document(result()), Look(120, is_ascii=True))
    two = (trial(1, (0, 0), 10, 10), trial(2, (1, 0), 19, 19))
    assert "@ winner" not in plain_text(tuned_document(result(*two)), Look(120, is_ascii=True))
    three = (*two, trial(3, (2, 0), 30, 30))
    assert "@ winner" in plain_text(tuned_document(result(*three)), Look(120, is_ascii=True))
    assert len(drawn(marks(result(*three))).splitlines()) == 6 + 4


@pytest.mark.parametrize(("is_exhaustive", "why"), [(False, "the safe start did not run"), (True, "no combination ran")])
def test_where_nothing_ran_that_is_the_reason(*, is_exhaustive: bool, why: str) -> None:
    study = Study(sizes=(2, 2), start=(0, 0), is_exhaustive=is_exhaustive)
    points = [(0, 0), (0, 1), (1, 0), (1, 1)]
    ended = ask(study, [Told(point=point, state=TrialState.FAILED) for point in (points if is_exhaustive else points[:1])])
    assert isinstance(ended, Ended)
    assert ended.best is None
    assert why in ended.reason


def test_a_search_that_has_no_start_left_does_not_say_that_nothing_helps() -> None:
    study = Study(sizes=(2, 2), start=(0, 0), most_trials=3, least_gain=0.03, unrest=0.03)
    told = [
        Told(point=point, state=TrialState.DONE, speed=Estimate(mean=mean, deviation=0.1, count=3), seconds=1.0)
        for point, mean in (((0, 0), 100.0), ((1, 0), 50.0), ((0, 1), 50.0))
    ]
    ended = ask(study, told)
    assert isinstance(ended, Ended)
    assert (ended.best, ended.reason) == ((0, 0), "3 trials were run, of 4 combinations")


def test_a_step_that_stays_without_being_shown_to_be_better_is_said_to_be_near() -> None:
    study = Study(sizes=(2, 1), start=(0, 0), least_gain=0.03, unrest=0.2)
    told = [
        Told(point=point, state=TrialState.DONE, speed=Estimate(mean=mean, deviation=9.0, count=3), seconds=1.0)
        for point, mean in (((0, 0), 100.0), ((1, 0), 120.0), ((0, 0), 101.0), ((1, 0), 121.0))
    ]
    _, _, fate = judged(study, Objective.THROUGHPUT, told, Ask(point=(1, 0), base=(0, 0), stage=ALONE))
    assert fate == "kept though too near to tell"


def test_an_engine_without_dials_is_turned_by_its_levers() -> None:
    assert engines.dials("transformers") is None
    engine = engines.find("ipex_llm")
    asked = read_tuning(VERB.flags({"model": "Qwen3-0.6B", **ASKED}), real.world(offline=True))
    dials = from_levers(engines.find("vllm"), asked.base)
    assert {"max_num_batched_tokens", "max_num_seqs"} <= {dial.setting for dial in dials}
    assert "max_model_len" not in {dial.setting for dial in dials}
    assert engine.profile.name == "ipex_llm"


def test_the_start_is_the_safest_point_that_fits_and_quality_is_left_alone() -> None:
    asked = read_tuning(flags(), real.world(offline=True))
    assert asked.dials[0].setting == "gpu_memory_utilization"
    assert asked.study.start == (0,) * len(asked.dials)
    assert all(not dial.loses for dial in asked.dials)
    found = asked.outcome(asked.study.start)
    assert not isinstance(found, str)
    assert found.verdict is Verdict.FITS
    tight = read_tuning(flags("Qwen3-8B", workload="4096:512"), real.world(offline=True))
    assert tight.study.start[0] > 0, "a fraction of 0.6 does not hold 15 GiB of weights on 24 GiB"


def test_the_longest_context_is_ranked_by_the_ledger() -> None:
    asked = read_tuning(flags(objective="context"), real.world(offline=True))
    best, worst = asked.outcome(asked.study.ranked[0]), asked.outcome(asked.study.ranked[-1])
    assert not isinstance(best, str)
    assert not isinstance(worst, str)
    assert best.capacity.max_context_tokens.expected >= worst.capacity.max_context_tokens.expected
    least = read_tuning(flags(objective="memory"), real.world(offline=True))
    small = least.outcome(least.study.ranked[0])
    assert not isinstance(small, str)
    assert small.peak_bytes <= best.peak_bytes
    assert answer(least.engine, small.asked).verdict is Verdict.FITS


def test_another_question_is_another_journal() -> None:
    names = {
        read_tuning(flags(**said), real.world(offline=True)).name
        for said in (
            {},
            {"objective": "ttft"},
            {"workload": "513:64"},
            {"knob": ("max_num_seqs=16,32",)},
            {"concurrency": 3},
            {"all": True},
        )
    }
    assert len(names) == 6
    assert read_tuning(flags(), real.world(offline=True)).name == read_tuning(flags(budget="1h"), real.world(offline=True)).name


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"objective": "speed"}, "throughput, ttft, context, memory"),
        ({"budget": "soon"}, "30m"),
        ({"workload": None}, "--workload"),
        ({"knob": ("max_num_seqs=16,16",)}, "twice"),
        ({"knob": ("max_num_sequences=16,32",)}, "max_num_seqs"),
        ({"rate": "2", "concurrency": 2}, "give one"),
        ({"workload": "9000:64", "context": "4096"}, "--context"),
    ],
)
def test_a_wrong_word_is_refused_with_the_right_ones(said: dict[str, object], told: str) -> None:
    with pytest.raises(InputError, match=told):
        tuning(**said)


def test_a_time_may_be_written_in_seconds_minutes_and_hours() -> None:
    assert [seconds(flags(budget=text), "budget", 1.0) for text in ("90s", "30m", "1h", "2")] == [90.0, 1800.0, 3600.0, 120.0]
