"""What a look at a running engine adds to what is remembered of it."""

from ullage.domain.baseline import Promised
from ullage.domain.facts import Fact
from ullage.domain.ledger import Amount, Phase, Purpose
from ullage.frozen import replace
from ullage.planning.seen import Look, Readings, with_log, with_look
from ullage.planning.tally import growth_of, seen_of


def promised(purpose: Purpose | None, phase: Phase, nbytes: int) -> Promised:
    return Promised(device="cpu", purpose=purpose, phase=phase, amount=Amount.exactly(nbytes))


PLAN = (
    promised(Purpose.WEIGHTS, Phase.RESIDENT, 100),
    promised(Purpose.KV_CACHE, Phase.RESIDENT, 1000),
    promised(Purpose.OTHERS, Phase.RESIDENT, 70),
    promised(Purpose.ACTIVATIONS, Phase.PREFILL, 50),
    promised(None, Phase.RESIDENT, 1170),
)


def look(own: int | None, **facts: int) -> Look:
    names = {"cache": "seen.kv_cache", "prompts": "prompt_tokens", "answers": "generation_tokens"}
    return Look(own=(("cpu", own),), facts=tuple(Fact(name=names.get(name, name), value=value) for name, value in facts.items()))


def whole(readings: Readings, phase: Phase) -> tuple[int, int, bool]:
    found = next(one for one in seen_of(readings.tally) if one.purpose is None and one.phase is phase)
    return found.most_bytes, found.full_bytes, found.reached


def test_an_idle_engine_is_seen_as_it_is_with_the_others_as_planned_and_the_cache_that_is_to_come_is_told_apart() -> None:
    idle = with_look(Readings(), PLAN, look(140, cache=10, prompts=0, answers=0))
    assert whole(idle, Phase.RESIDENT) == (140 + 70, 140 + 70 + 990, False)


def test_prompts_since_the_last_look_make_it_prefill_and_a_full_cache_makes_it_reached() -> None:
    idle = with_look(Readings(), PLAN, look(140, cache=0, prompts=0, answers=0))
    busy = with_look(idle, PLAN, look(1190, cache=1000, prompts=500, answers=1))
    assert whole(busy, Phase.PREFILL) == (1190 + 70, 1190 + 70, True)
    assert whole(with_look(busy, PLAN, look(1150, cache=1000, prompts=500, answers=9)), Phase.DECODE) == (1150 + 70, 1150 + 70, True)


def test_every_device_is_seen_and_what_a_rank_says_stands_with_its_own() -> None:
    plan = tuple(replace(one, device=device) for device in ("gpu0", "gpu1") for one in PLAN)
    facts = (Fact(name="prompt_tokens", value=5), *(Fact(name="seen.weights", value=100 + n, details=(("rank", str(n)),)) for n in (0, 1)))
    before = with_look(Readings(), plan, Look(own=(("gpu0", 1), ("gpu1", 1)), facts=(Fact(name="prompt_tokens", value=1),)))
    read = with_look(before, plan, Look(own=(("gpu0", 300), ("gpu1", 400)), facts=facts))
    read = with_log(read, plan, ("gpu0", "gpu1"), (Fact(name="activation_bytes", value=48),))
    found = {(one.device, one.purpose, one.phase): one.most_bytes for one in seen_of(read.tally)}
    assert (found["gpu0", None, Phase.PREFILL], found["gpu1", None, Phase.PREFILL]) == (370, 470)
    assert (found["gpu0", Purpose.WEIGHTS, Phase.RESIDENT], found["gpu1", Purpose.WEIGHTS, Phase.RESIDENT]) == (100, 101)
    assert [device for device, purpose, _ in found if purpose is Purpose.ACTIVATIONS] == ["gpu0"]
    together = with_look(before, plan, Look(own=(("gpu0", 1), ("gpu1", 1)), facts=(Fact(name="seen.weights", value=200),)))
    assert all(one.purpose is None for one in seen_of(together.tally))  # of all devices, and so of none
    facts = (Fact(name="seen.kv_cache", value=500), Fact(name="kv_bytes", value=2000))
    together = with_look(Readings(), plan, Look(own=(("gpu0", 300), ("gpu1", 300)), facts=facts))
    assert [one.missing_bytes for one in seen_of(together.tally) if one.purpose is None] == [750, 750]


def test_the_engines_own_figures_stand_under_the_phase_of_the_plan_and_pages_come_before_the_log() -> None:
    read = with_look(Readings(), PLAN, look(None, **{"seen.weights": 101, "cache": 10}))
    read = with_log(read, PLAN, ("cpu",), (Fact(name="weights_bytes", value=99), Fact(name="activation_bytes", value=48)))
    found = {(one.purpose, one.phase): (one.most_bytes, one.reached) for one in seen_of(read.tally)}
    assert found == {
        (Purpose.WEIGHTS, Phase.RESIDENT): (101, False),
        (Purpose.KV_CACHE, Phase.RESIDENT): (10, False),
        (Purpose.ACTIVATIONS, Phase.PREFILL): (48, True),
    }


def test_memory_that_follows_the_tokens_held_is_a_growth_in_bytes_a_token() -> None:
    readings = Readings()
    for held in (0, 40, 80, 120):
        readings = with_look(readings, PLAN, look(500 + held, cache=held, kv_bytes=1000, kv_tokens=250))
    (growth,) = growth_of(readings.tally)
    assert (growth.bytes_per_token, growth.to_tokens) == (4.0, 30)


def test_what_was_not_told_is_absent() -> None:
    assert seen_of(with_look(Readings(), PLAN, look(None)).tally) == ()
