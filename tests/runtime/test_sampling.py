"""Tokens are drawn as asked, by request alone."""

from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.engines import answers, play, run, small, words

from ullage.errors import InputError
from ullage.runtime.engine import Request
from ullage.runtime.sample.choose import choose
from ullage.runtime.sample.chooser import Chooser
from ullage.runtime.sample.settings import Sampling, check

VOCABULARY = 40
numbers = st.lists(st.floats(-8, 8, width=32), min_size=VOCABULARY, max_size=VOCABULARY)
settings_of_rows = st.builds(
    Sampling,
    temperature=st.sampled_from((0.0, 0.3, 1.0, 2.5)),
    top_k=st.sampled_from((0, 1, 3, 40)),
    top_p=st.sampled_from((0.0, 0.2, 0.9, 1.0)),
    min_p=st.sampled_from((0.0, 0.1, 1.0)),
    presence_penalty=st.sampled_from((0.0, 0.7)),
    frequency_penalty=st.sampled_from((0.0, -0.4)),
    repetition_penalty=st.sampled_from((1.0, 1.3)),
    seed=st.integers(0, 5),
    logprobs=st.none() | st.integers(0, 3),
    logit_bias=st.sampled_from(((), ((3, 4.0), (7, -100.0)))),
)


def reference(logits: Sequence[float], wish: Sampling) -> list[float]:
    """The probability of every token, written down plainly in double precision."""
    scaled = torch.tensor(logits, dtype=torch.float64) / wish.temperature
    order = sorted(range(len(logits)), key=lambda token: -float(scaled[token]))
    if wish.top_k:
        order = order[: wish.top_k]
    weights = torch.exp(scaled - scaled.max())
    total, kept, before = float(weights[order].sum()), [], 0.0
    for token in order:
        if kept and before >= wish.top_p * total:
            break
        kept.append(token)
        before += float(weights[token])
    kept = [token for token in kept if float(weights[token]) >= wish.min_p]
    total = float(weights[kept].sum())
    return [float(weights[token]) / total if token in kept else 0.0 for token in range(len(logits))]


@pytest.mark.parametrize("head", [8, 1024])
@pytest.mark.parametrize(
    "wish",
    [
        Sampling(temperature=1.0),
        Sampling(temperature=0.5, min_p=0.1),
        Sampling(temperature=1.0, top_k=5),
        Sampling(temperature=1.0, top_p=0.7),
        Sampling(temperature=2.0, top_p=0.95),
        Sampling(temperature=2.0, top_k=12, top_p=0.8, min_p=0.2),
    ],
)
def test_tokens_come_as_often_as_their_probabilities_say(wish: Sampling, head: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ullage.runtime.sample.choose._HEAD", head)
    logits = torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(3)) * 2
    draws = 4000
    choosers = [Chooser(Sampling(**fields(wish) | {"seed": seed}), [1]) for seed in range(draws)]
    drawn = torch.tensor([choice.token for choice in choose(logits.repeat(draws, 1), choosers)])
    seen = torch.bincount(drawn, minlength=VOCABULARY).double() / draws
    expected = torch.tensor(reference(logits.tolist(), wish), dtype=torch.float64)
    assert set(torch.nonzero(seen)[:, 0].tolist()) <= set(torch.nonzero(expected)[:, 0].tolist())
    assert float((seen - expected).abs().max()) < 4 * 0.5 / draws**0.5


def fields(wish: Sampling) -> dict[str, object]:
    return {name: getattr(wish, name) for name in Sampling.__dataclass_fields__}


@settings(deadline=None)
@given(st.lists(st.tuples(numbers, settings_of_rows, st.lists(st.integers(0, 39), max_size=5)), min_size=1, max_size=6))
def test_company_changes_no_row(rows: list[tuple[list[float], Sampling, list[int]]]) -> None:
    def chooser(wish: Sampling, past: list[int]) -> Chooser:
        made = Chooser(wish, [1, 2])
        for token in past:
            made.took(token)
        return made

    logits = torch.tensor([row for row, _, _ in rows])
    together = choose(logits.clone(), [chooser(wish, past) for _, wish, past in rows])
    alone = [choose(logits[at : at + 1].clone(), [chooser(wish, past)])[0] for at, (_, wish, past) in enumerate(rows)]
    assert together == alone


@given(numbers, st.sampled_from((0.0, 1.0, 30.0)))
def test_the_best_token_is_taken_without_temperature_with_top_k_of_one_and_with_top_p_of_nothing(row: list[float], heat: float) -> None:
    logits = torch.tensor([row])
    best = max(row)
    for wish in (
        Sampling(),
        Sampling(temperature=heat, top_k=1),
        Sampling(temperature=heat, top_p=0.0),
        Sampling(temperature=heat, min_p=1.0),
    ):
        assert row[choose(logits, [Chooser(wish, [1])])[0].token] == best


@given(numbers, st.integers(0, 5))
def test_logprobs_are_of_the_model_whatever_is_done_to_the_logits(row: list[float], top: int) -> None:
    wish = Sampling(temperature=2.0, seed=1, logprobs=top, logit_bias=((5, 50.0),), presence_penalty=1.0)
    (choice,) = choose(torch.tensor([row]), [Chooser(wish, [1])])
    expected = torch.tensor(row).double().log_softmax(-1)
    assert choice.logprobs is not None
    assert choice.logprobs.token == pytest.approx(float(expected[choice.token]), abs=1e-4)
    assert [value for _, value in choice.logprobs.top] == pytest.approx(sorted(expected.tolist(), reverse=True)[:top], abs=1e-4)
    assert all(value == pytest.approx(float(expected[token]), abs=1e-4) for token, value in choice.logprobs.top)


PENALTIES: list[tuple[Sampling, Callable[[float, int, bool], float]]] = [
    (Sampling(presence_penalty=1.5), lambda value, times, _: value - 1.5 * (times > 0)),
    (Sampling(frequency_penalty=0.5), lambda value, times, _: value - 0.5 * times),
    (Sampling(repetition_penalty=2.0), lambda value, times, asked: (value / 2 if value > 0 else value * 2) if times or asked else value),
]


@pytest.mark.parametrize(("wish", "rule"), PENALTIES)
def test_penalties_do_what_their_names_say(wish: Sampling, rule: Callable[[float, int, bool], float]) -> None:
    row = torch.linspace(-3, 3, VOCABULARY)
    prompt, past = [4, 30], [6, 30, 6, 35]
    chooser = Chooser(wish, prompt)
    for token in past:
        chooser.took(token)
    changed = row.clone()
    assert chooser.change(changed) == ""
    expected = [rule(float(value), past.count(token), token in prompt) for token, value in enumerate(row)]
    assert changed.tolist() == pytest.approx(expected, abs=1e-6)


def test_a_bias_can_force_a_token_and_forbid_one() -> None:
    row = torch.linspace(-3, 3, VOCABULARY)[None]
    assert choose(row.clone(), [Chooser(Sampling(logit_bias=((0, 100.0),)), [1])])[0].token == 0
    assert choose(row.clone(), [Chooser(Sampling(logit_bias=((39, -100.0),)), [1])])[0].token == 38


def test_logits_that_are_no_numbers_are_a_problem_of_their_row_only() -> None:
    logits = torch.zeros(3, VOCABULARY)
    logits[1, 7] = float("nan")
    logits[2, 3] = 1.0
    for wish in (Sampling(), Sampling(temperature=1.0, top_k=1, logprobs=1), Sampling(temperature=1.0, top_p=0.5, seed=1)):
        first, second, third = choose(logits.clone(), [Chooser(wish, [1]) for _ in range(3)])
        assert (first.problem, third.problem) == ("", "")
        assert "nan" in second.problem


def test_a_seed_gives_the_same_answer_in_any_company_and_memory() -> None:
    wish = Sampling(temperature=1.0, top_p=0.95, seed=11)
    request = Request(prompt=words(1, 30), max_new_tokens=40, sampling=wish)
    other = Request(prompt=words(2, 50), max_new_tokens=40, sampling=Sampling(temperature=1.5))
    (alone,) = answers(small("llama"), [request])
    tight = small("llama", budget_bytes=14 * 8 * 1024, reserve_tokens=0, chunk_tokens=16)
    first, *_, last = answers(tight, [request, other, other, request])
    assert first == alone == last
    assert tight.stats().recomputed > 0
    assert answers(small("llama"), [other]) != answers(small("llama"), [other])


def test_logprobs_come_with_every_token_that_asks_for_them() -> None:
    asked, silent = play(
        small("llama"),
        [Request(prompt=words(1, 9), max_new_tokens=5, sampling=Sampling(logprobs=top)) for top in (2, None)],
    )
    assert [len(output.logprobs.top) for output in asked if output.logprobs] == [2] * 5
    assert all(output.logprobs is None for output in silent)
    assert all(output.logprobs.top[0][0] == output.token for output in asked if output.logprobs)
    assert run(small("llama"), Request(prompt=(1,), max_new_tokens=1, sampling=Sampling(logprobs=0)))[0].logprobs is not None


@pytest.mark.parametrize(
    ("name", "value"), [("temperature", -0.1), ("top_k", -1), ("top_p", 1.1), ("min_p", -0.1), ("presence_penalty", 2.1), ("logprobs", 21)]
)
def test_a_value_out_of_its_range_is_refused_with_its_name_and_the_range(name: str, value: float) -> None:
    with pytest.raises(InputError, match=rf"{name} is {value}; it has to be from"):
        check(Sampling(**{name: value}), 1000)  # type: ignore[arg-type]
