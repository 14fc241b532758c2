"""The engine's promises beside the tokens: ends, pages, refusals, order, statistics."""

import re
from collections.abc import Callable
from pathlib import Path
from random import Random
from threading import Thread

import pytest
import torch
from tests.runtime.engines import PLENTY, answers, assert_empty, loaded, need_bytes, play, run, small, tokens_of, words

from ullage.errors import InputError
from ullage.frozen import replace
from ullage.runtime.attend.step import Step
from ullage.runtime.engine import Engine, EngineSettings, Finish, Request, Sampling
from ullage.runtime.model.decoder import Decoder


class Instead:
    """Stands where the decoder does and does something else first."""

    weight_bytes = 0

    def __init__(self, first: Callable[[], object], decoder: Decoder | None = None) -> None:
        self._first, self._decoder = first, decoder

    def __call__(self, step: Step) -> torch.Tensor:
        self._first()
        assert self._decoder is not None
        return self._decoder(step)


def with_instead(engine: Engine, first: Callable[[], object]) -> None:
    engine._loaded = replace(engine._loaded, decoder=Instead(first, engine._loaded.decoder))  # type: ignore[arg-type]


def test_a_stop_token_ends_a_request_and_is_its_last_token() -> None:
    prompt = words(3, 20)
    (whole,) = answers(small("llama"), [Request(prompt=prompt, max_new_tokens=30)])
    stop = whole[10]
    outputs = run(small("llama"), Request(prompt=prompt, max_new_tokens=30, stop_tokens=frozenset({stop})))
    assert tokens_of(outputs) == whole[: whole.index(stop) + 1]
    assert outputs[-1].finished is Finish.STOP


@pytest.mark.parametrize("steps", [0, 1, 3, 12])
def test_cancelling_frees_pages_at_once_wherever_a_request_is(steps: int) -> None:
    engine = small("llama", max_sequences=1, chunk_tokens=16, prefix_cache=False)
    runs, waits = (engine.submit(Request(prompt=words(index, 60), max_new_tokens=50)) for index in range(2))
    for _ in range(steps):
        engine.step()
    engine.cancel(waits)
    engine.cancel(runs)
    assert engine.stats().used_bytes == 0
    outputs = engine.step()
    assert [(output.id, output.finished) for output in outputs] == [(waits, Finish.CANCELLED), (runs, Finish.CANCELLED)]
    assert not engine.has_work
    engine.cancel(runs)
    engine.cancel(12345)
    assert engine.step() == []


def test_cancelling_who_was_put_aside_frees_the_host() -> None:
    request = Request(prompt=words(1, 6), max_new_tokens=90)
    engine = small(
        "llama", budget_bytes=int(need_bytes("llama", request, 8) * 1.3), swap_bytes=PLENTY, reserve_tokens=0, prefix_cache=False
    )
    ids = [engine.submit(request) for _ in range(4)]
    while not engine.stats().swapped_bytes:
        engine.step()
    for id_ in ids:
        engine.cancel(id_)
    assert engine.stats().swapped_bytes == engine.stats().used_bytes == 0
    assert len(engine.step()) == 4


def test_a_request_cancelled_while_a_step_runs_is_over_when_the_step_is() -> None:
    engine = small("llama", prefix_cache=False)
    first = engine.submit(Request(prompt=words(1, 9), max_new_tokens=90))
    engine.step()

    def cancel_elsewhere() -> None:
        canceller = Thread(target=engine.cancel, args=(first,))
        canceller.start()
        canceller.join(timeout=10)
        assert not canceller.is_alive()
        assert engine.stats().used_bytes > 0

    with_instead(engine, cancel_elsewhere)
    assert [output.finished for output in engine.step()] == [None, Finish.CANCELLED]
    assert engine.stats().used_bytes == 0


def test_what_can_never_fit_is_refused_with_the_need_and_the_longest_that_fits() -> None:
    engine = small("llama", budget_bytes=need_bytes("llama", Request(prompt=words(0, 50), max_new_tokens=15), 8), max_len=200)
    too_many_bytes, too_many_tokens = Request(prompt=words(1, 60), max_new_tokens=40), Request(prompt=words(1, 190), max_new_tokens=11)
    for request, have in ((too_many_bytes, engine.settings.budget_bytes), (too_many_tokens, 200)):
        ((output,),) = play(engine, [request])
        assert output.finished is Finish.REFUSED
        assert output.token is None
        need, had, longest = (int(number.replace(",", "")) for number in re.findall(r"[\d,]*\d", output.detail))
        assert (need > had, had, longest) == (True, have, 64)
        no = engine.refusal(request)
        assert no is not None
        assert str(no) == output.detail
    assert engine.refusal(Request(prompt=words(1, 60), max_new_tokens=4)) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"prompt": ()},
        {"prompt": (1, 320)},
        {"prompt": (-1,)},
        {"max_new_tokens": 0},
        {"sampling": Sampling(top_p=1.5)},
        {"sampling": Sampling(temperature=float("nan"))},
        {"sampling": Sampling(logit_bias=((320, 1.0),))},
        {"sampling": Sampling(logprobs=21)},
    ],
)
def test_what_is_no_request_is_refused_by_name_before_it_is_taken_in(wrong: dict[str, object]) -> None:
    engine = small("llama")
    with pytest.raises(InputError, match=r"\d|nan"):
        engine.submit(Request(**({"prompt": (1, 2), "max_new_tokens": 1} | wrong)))  # type: ignore[arg-type]
    assert not engine.has_work


def test_a_step_that_fails_ends_its_requests_with_the_error_and_the_next_ones_run() -> None:
    engine = small("llama", prefix_cache=False)
    right = engine._loaded

    def fail() -> None:
        raise RuntimeError("device is gone")

    with_instead(engine, fail)
    crowd = [Request(prompt=words(index, 20), max_new_tokens=5) for index in range(3)]
    for (output,) in play(engine, crowd):
        assert output.finished is Finish.ERROR
        assert "device is gone" in output.detail
    engine._loaded = right
    assert [len(tokens) for tokens in answers(engine, crowd)] == [5, 5, 5]


class _Broken:
    def restrict(self, _logits: torch.Tensor) -> None:
        raise ValueError("no such grammar")

    def accept(self, token: int) -> None:
        raise AssertionError(token)


class _OnlyEven:
    def __init__(self) -> None:
        self.seen: list[int] = []

    def restrict(self, logits: torch.Tensor) -> None:
        logits[1::2] = float("-inf")

    def accept(self, token: int) -> None:
        self.seen.append(token)


class _Nothing(_OnlyEven):
    def restrict(self, logits: torch.Tensor) -> None:
        logits.fill_(float("-inf"))


def test_a_mask_decides_what_may_come_and_a_broken_one_ends_its_own_request_only() -> None:
    prompt, even = words(3, 20), _OnlyEven()
    masks = (None, even, _Broken(), _Nothing())
    plain, masked, broken, nothing = play(small("llama"), [Request(prompt=prompt, max_new_tokens=12, mask=mask) for mask in masks])
    assert [tokens_of(plain)] == answers(small("llama"), [Request(prompt=prompt, max_new_tokens=12)])
    assert tokens_of(masked) == even.seen
    assert all(token % 2 == 0 for token in even.seen)
    assert any(token % 2 for token in tokens_of(plain))
    assert (broken[-1].finished, nothing[-1].finished) == (Finish.ERROR, Finish.ERROR)
    assert "no such grammar" in broken[-1].detail


def test_counters_add_up() -> None:
    engine = small("llama", max_sequences=2)
    crowd = [Request(prompt=words(index % 2, 40), max_new_tokens=6) for index in range(6)]
    play(engine, [*crowd, Request(prompt=words(0, 300), max_new_tokens=1)])
    seen = engine.stats()
    assert seen.prompt_tokens + seen.reused_tokens == 6 * 40
    assert seen.reused_tokens == 4 * 32
    assert seen.generated_tokens == 6 * 6
    assert dict(seen.finished) == {"stop": 0, "length": 6, "cancelled": 0, "refused": 1, "error": 0}
    assert (seen.waiting, seen.running, seen.used_tokens) == (0, 0, 0)


def test_idle_pages_make_way_for_sequences_and_go_by_their_age() -> None:
    now = [0.0]
    request = Request(prompt=words(1, 60), max_new_tokens=4)
    settings = EngineSettings(budget_bytes=need_bytes("llama", request, 8), max_len=256, page_tokens=8, prefix_cache=True, keep_idle_s=10.0)
    engine = Engine(loaded("llama"), settings, clock=lambda: now[0])
    run(engine, request)
    assert engine.stats().idle_bytes == 7 * 2 * 4 * 2 * 8 * 16 * 4  # pages, tensors, layers, heads, tokens, width, bytes
    run(engine, replace(request, prompt=words(2, 60)))
    assert engine.stats().idle_bytes <= settings.budget_bytes
    now[0] = 11.0
    assert run(engine, replace(request, prompt=words(1, 60)))[0].reused_tokens == 0
    assert_empty(engine)


def resident_bytes() -> int:
    """Anonymous memory of this process."""
    found = re.search(r"^RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text(), flags=re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's own account of memory")
@pytest.mark.parametrize("page_tokens", [256, 16, 5])
def test_nearly_all_memory_of_the_cache_is_given_back_to_the_system(page_tokens: int) -> None:
    config_tokens = 16_000
    engine = Engine(loaded("llama"), EngineSettings(budget_bytes=PLENTY, max_len=20_000, page_tokens=page_tokens, max_sequences=4))
    pool = engine._housing.pool
    before = resident_bytes()
    crowd = [pool.new_tables() for _ in range(4)]
    for _ in range(4):  # in turns, so that pages of different sequences lie between each other where they must
        for tables in crowd:
            pool.grow(tables, tables[0].reach + config_tokens // 4)
    for arena in pool.arenas:
        for layer in range(4):
            for tables in crowd:
                for slot, count in tables[0].runs(0, tables[0].reach):
                    arena.keys(layer)[:, slot : slot + count] = 1.0
                    arena.values(layer)[:, slot : slot + count] = 1.0
    taken = resident_bytes() - before
    assert taken >= 0.97 * 4 * config_tokens * 2 * 4 * 2 * 16 * 4
    draw = Random(0)  # noqa: S311 - a test's order
    for _ in range(400):  # as windows do: a few pages at a time, here and there
        (table,) = draw.choice(crowd)
        gone = table.behind((table.dropped + draw.randrange(1, 4)) * page_tokens)
        pool._let_go(0, gone)
    for tables in crowd:
        pool.release(tables)
    assert pool.taken_bytes == 0
    assert resident_bytes() - before <= 0.05 * taken


def test_as_much_growth_is_kept_free_as_answers_took_so_that_short_ones_run_together() -> None:
    """A request may take 96 tokens of answer; the budget holds three that do. Cancelled after four, as at a stop string, they take few."""
    asked = [Request(prompt=words(index, 8), max_new_tokens=96) for index in range(10)]
    engine = small("llama", budget_bytes=3 * need_bytes("llama", asked[0], 8), prefix_cache=False)

    def most_at_once() -> int:
        most, ids = 0, [engine.submit(request) for request in asked]
        made = dict.fromkeys(ids, 0)
        while engine.has_work:
            for output in engine.step():
                made[output.id] += 1
                if made[output.id] == 4:
                    engine.cancel(output.id)
            most = max(most, engine.stats().running)
        return most

    assert most_at_once() <= 3
    assert most_at_once() == 10
    play(engine, asked)  # these are cut at their length, so nobody knows how far they had gone
    assert most_at_once() <= 3
