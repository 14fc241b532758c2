"""The same greedy tokens in any company, chunk, page, memory and order."""

from collections.abc import Sequence
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.engines import PLENTY, answers, need_bytes, play, run, small, tokens_of, words

from ullage.runtime.engine import Output, Request, Sampling
from ullage.runtime.live import Live

# Full attention, windows in all layers, dual chunk attention with its length temperature, both kinds of layers, latents.
FAMILIES = ("llama", "mistral", "qwen2_dual_chunk", "gemma3_text", "deepseek_v2")
COMMON = words(1, 90)


@cache
def requests() -> tuple[Request, ...]:
    """Some with the same beginning, some short with long answers, one that passes two chunks of dual chunk attention."""
    shapes = [(0, 3, 50), (33, 7, 40), (64, 1, 30), (90, 50, 12), (64, 70, 9), (0, 1, 60), (90, 2, 20), (33, 100, 5)]
    return tuple(
        Request(prompt=COMMON[:shared] + words(10 + index, own), max_new_tokens=answer, client="ab"[index % 2])
        for index, (shared, own, answer) in enumerate(shapes)
    )


@cache
def alone(name: str) -> list[list[int]]:
    """Each request by itself: one prompt in one piece on one page, nothing kept."""
    engine = small(name, page_tokens=256, chunk_tokens=256, max_sequences=1, prefix_cache=False)
    return answers(engine, requests())


circumstances = st.fixed_dictionaries(
    {
        "page_tokens": st.sampled_from((4, 8, 16, 32)),
        "chunk_tokens": st.sampled_from((2, 5, 17, 64, 256)),
        "max_sequences": st.sampled_from((1, 3, 8)),
        "prefix_cache": st.booleans(),
        "swap_bytes": st.sampled_from((0, 30_000, PLENTY)),
        "reserve_tokens": st.sampled_from((0, 16)),
    }
)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=8, deadline=None)
@given(order=st.permutations(range(8)), tightness=st.sampled_from((1.0, 1.2, 1.7, 4.0)), circumstance=circumstances)
def test_company_chunks_pages_preemption_and_shared_beginnings_change_no_answer(
    name: str, order: list[int], tightness: float, circumstance: dict[str, int | bool]
) -> None:
    budget = int(max(need_bytes(name, request, int(circumstance["page_tokens"])) for request in requests()) * tightness)
    found = answers(small(name, budget_bytes=budget, **circumstance), [requests()[index] for index in order])
    assert found == [alone(name)[index] for index in order]


def logarithms(outputs: Sequence[Output]) -> list[float]:
    return [output.logprobs.token for output in outputs if output.logprobs]


@pytest.mark.parametrize("swap_bytes", [0, PLENTY])
@pytest.mark.parametrize(
    ("name", "crowd_size", "tightness"),
    [("llama", 4, 1.3), ("mistral", 4, 1.3), ("qwen2_dual_chunk", 2, 1.9)],  # the last late: past what the length temperature leaves alone
)
def test_who_was_put_aside_goes_on_with_the_same_tokens(name: str, swap_bytes: int, crowd_size: int, tightness: float) -> None:
    wish = Sampling(logprobs=0)  # a small model's best tokens may outlive a wrong cache, their probabilities do not
    crowd = [Request(prompt=words(index, 6), max_new_tokens=110, sampling=wish) for index in range(crowd_size)]
    expected = play(small(name, max_sequences=1, prefix_cache=False), crowd)
    budget = int(need_bytes(name, crowd[0], 8) * tightness)
    engine = small(name, budget_bytes=budget, swap_bytes=swap_bytes, reserve_tokens=0, prefix_cache=False)
    for mine, right in zip(play(engine, crowd), expected, strict=True):
        assert tokens_of(mine) == tokens_of(right)
        assert logarithms(mine) == pytest.approx(logarithms(right), abs=1e-4)
    seen = engine.stats()
    assert (seen.swapped if swap_bytes else seen.recomputed) > 0


@pytest.mark.parametrize("name", FAMILIES)
def test_a_prompt_that_comes_again_is_read_from_the_cache(name: str) -> None:
    request = Request(prompt=COMMON[:60], max_new_tokens=8)
    engine = small(name)
    first, second = run(engine, request), run(engine, request)
    assert tokens_of(first) == tokens_of(second)
    assert (first[0].reused_tokens, second[0].reused_tokens) == (0, 56)
    assert engine.stats().prompt_tokens == 60 + 4


def test_a_longer_conversation_finds_its_own_answers_in_the_cache() -> None:
    engine = small("llama")
    prompt = COMMON[:30]
    for _ in range(3):
        prompt += tuple(tokens_of(run(engine, Request(prompt=prompt, max_new_tokens=20))))
    assert engine.stats().reused_tokens == 8 * ((30 + 19) // 8) + 8 * ((30 + 39) // 8)


def test_a_prompt_past_the_length_temperature_is_shared_only_with_prompts_of_its_length() -> None:
    engine = small("qwen2_dual_chunk")
    for length, reused in ((100, 0), (110, 0), (100, 96), (60, 0), (64, 56), (40, 32)):
        prompt = COMMON[:90] + words(5, 40)
        assert run(engine, Request(prompt=prompt[:length], max_new_tokens=1))[0].reused_tokens == reused


@given(st.integers(1, 60), st.none() | st.integers(1, 60), st.integers(0, 99), st.integers(1, 99))
def test_tokens_of_a_prompt_are_sharpened_by_its_length_and_those_of_an_answer_by_the_length_so_far(
    prompt: int, sharp_from: int | None, start: int, count: int
) -> None:
    parts = Live(1, Request(prompt=words(0, prompt), max_new_tokens=200)).parts(start, start + count, sharp_from)
    assert [at for first, last, _ in parts for at in range(first, last)] == list(range(start, start + count))
    if sharp_from is None:
        assert len(parts) == 1
        return

    def sharpness(length: int) -> int:
        return max(length, sharp_from or 0)  # what the temperature tells apart

    for first, last, length in parts:
        for at in range(first, last):
            assert sharpness(length) == sharpness(prompt if at < prompt else at + 1)
