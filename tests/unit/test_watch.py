"""Promised next to seen: what stands beside what, what is absent, and which alarms ring."""

from dataclasses import replace

import pytest
from tests.watching import card, engine, facts, host, looks, promise, usage_over_time

from ullage import wire
from ullage.commands import plan
from ullage.commands.check import VERB as CHECK
from ullage.commands.check import make_check
from ullage.domain.ledger import Amount
from ullage.domain.reading import HostReading, Moment, Pressure, ProcessMemory
from ullage.errors import MalformedFileError
from ullage.planning.drift import Standing
from ullage.planning.promise import Part, promise_from, promise_of
from ullage.planning.watch import host_bytes, observe
from ullage.planning.watched import Alarm, AlarmKind, Row, Watched
from ullage.report.as_json import plan_values
from ullage.report.as_text import Look, plain_text
from ullage.report.watch_document import duration, watch_document, watch_line
from ullage.report.watch_json import watch_values
from ullage.report.watch_metrics import METRICS, watch_metrics
from ullage.units import GiB, MiB
from ullage.world import real


def rows(seen: Watched, device: str = "gpu0") -> dict[Part, Row]:
    state = next(state for state in seen.devices if state.device == device)
    return {row.part: row for row in state.rows}


def kinds(seen: Watched) -> set[AlarmKind]:
    return {alarm.kind for alarm in seen.alarms}


def alarm(seen: Watched, kind: AlarmKind) -> Alarm:
    return next(alarm for alarm in seen.alarms if alarm.kind is kind)


def test_every_part_that_is_told_stands_beside_its_promise() -> None:
    told = engine(weights_bytes=16 * GiB, kv_tokens=100_000, kv_cache_usage=0.4, requests_running=3)
    seen = observe(promise(), Moment(at=1.0, devices=(card(),), host=host(), engine=told))
    found = rows(seen)
    assert found[Part.WEIGHTS].seen_bytes == 16 * GiB
    assert found[Part.CACHE].seen_bytes == 20 * GiB  # as many tokens as promised take as many bytes
    assert found[Part.REST].seen_bytes == 3 * GiB
    assert found[Part.OTHERS].seen_bytes == GiB
    assert seen.alarms == ()


def test_a_pool_that_grows_is_seen_as_far_as_it_has_grown_within_all_that_was_promised() -> None:
    parts = ((Part.CACHE, Amount(GiB, GiB, 16 * GiB)),)
    grows = replace(promise(), devices=(replace(promise().devices[0], parts=parts),))
    for held, standing in ((0.25, Standing.WITHIN), (1.0, Standing.WITHIN), (0.0, Standing.BELOW)):
        told = engine(kv_tokens=100_000, kv_cache_usage=held / 2, kv_cache_held=held)
        row = rows(observe(grows, Moment(at=1.0, devices=(card(),), host=host(), engine=told)))[Part.CACHE]
        assert row.seen_bytes == 16 * GiB * held
        assert row.drift is not None
        assert row.drift.standing is standing


def test_what_is_not_told_is_absent_everywhere_and_nowhere_zero() -> None:
    seen = observe(promise(), Moment(at=1.0, devices=(card(used=None, held=None, total=None),), host=HostReading(at=1.0)))
    assert all(row.seen_bytes is None and row.drift is None for row in rows(seen).values())
    assert (seen.pool.tokens, seen.pool.usage) == (None, None) if seen.pool else False
    values = wire.dumps(watch_values(seen))
    assert ": 0" not in values.replace('"beyond_bytes": 0', "").replace('"at": 1.0', "")
    text = plain_text(watch_document(seen), Look(120, is_ascii=True))
    assert "in use: not told" in text
    names = {line.split("{")[0].split(" ")[0] for line in watch_metrics(seen).splitlines() if not line.startswith("#")}
    assert names == {"ullage_promised_peak_bytes", "ullage_promised_bytes", "ullage_pool_promised_tokens", "ullage_alarms"}


def test_without_a_promise_readings_stand_alone() -> None:
    seen = observe(None, Moment(at=1.0, devices=(card(),), host=host()))
    state = seen.devices[0]
    assert (state.engine_bytes, state.peak, state.drift) == (39 * GiB, None, None)
    assert seen.pool is None
    assert seen.alarms == ()


def test_a_device_that_no_driver_answers_for_keeps_its_promise_in_sight() -> None:
    seen = observe(promise("gpu7"), Moment(at=1.0))
    assert [state.device for state in seen.devices] == ["gpu7"]
    assert rows(seen, "gpu7")[Part.WEIGHTS].promised == Amount.exactly(16 * GiB)


@pytest.mark.parametrize(("held", "rings"), [(39 * GiB, False), (40 * GiB, False), (43 * GiB, True), (20 * GiB, False)])
def test_an_engine_above_the_high_end_is_a_drift_and_one_below_is_not_yet_at_its_peak(held: int, *, rings: bool) -> None:
    seen = observe(promise(), Moment(at=1.0, devices=(card(held=held, used=held + GiB),), host=host()))
    assert (AlarmKind.DRIFT in kinds(seen)) is rings


@pytest.mark.parametrize("weights", [15 * GiB, 17 * GiB])
def test_weights_outside_their_bounds_are_a_drift_either_way(weights: int) -> None:
    told = engine(weights_bytes=weights)
    seen = observe(promise(), Moment(at=1.0, devices=(card(),), host=host(), engine=told))
    assert "the weights take" in alarm(seen, AlarmKind.DRIFT).text


@pytest.mark.parametrize(("tokens", "rings"), [(100_000, False), (99_984, True), (120_000, True)])
def test_a_pool_of_another_size_than_promised_is_a_drift(tokens: int, *, rings: bool) -> None:
    seen = observe(promise(), Moment(at=1.0, engine=engine(kv_tokens=tokens)))
    assert (AlarmKind.DRIFT in kinds(seen)) is rings


def test_tokens_are_known_by_blocks_too_and_of_several_ranks_the_least_counts() -> None:
    told = (*facts(kv_blocks=10, block_tokens=16), *facts(kv_blocks=12, block_tokens=16, requests_running=2), *facts(requests_running=3))
    seen = observe(None, Moment(at=1.0, engine=replace(engine(), facts=told)))
    assert seen.pool is not None
    assert (seen.pool.tokens, seen.pool.running) == (160, 5)


def test_a_full_pool_with_requests_waiting_rings_though_no_preemption_is_counted() -> None:
    moments = [
        Moment(at=float(at), engine=engine(kv_cache_usage=0.957, requests_running=running, requests_waiting=waiting, preemptions=0))
        for at, (running, waiting) in enumerate([(11, 1), (9, 3), (6, 6), (3, 9)])
    ]
    seen = looks(moments)
    assert kinds(seen) == {AlarmKind.POOL}
    assert "whether counted yet or not" in alarm(seen, AlarmKind.POOL).text


def test_requests_that_the_guard_holds_back_are_waiting_and_none_of_them_is_taken_for_preempted() -> None:
    moments = [
        Moment(at=float(at), engine=replace(engine(kv_cache_usage=0.96, requests_running=running, requests_waiting=0), queued=queued))
        for at, (running, queued) in enumerate([(4, 2), (3, 12), (2, 28)])
    ]
    seen = looks(moments)
    assert seen.pool is not None
    assert (seen.pool.running, seen.pool.waiting, seen.pool.queued) == (2, 28, 28)
    assert "2 running, 28 waiting (28 of them in the guard)" in watch_line(seen)
    assert "28 requests wait" in alarm(seen, AlarmKind.POOL).text
    assert "preempted" not in alarm(seen, AlarmKind.POOL).text
    assert "ullage_requests_waiting 28\nullage_requests_queued" not in watch_metrics(looks(usage_over_time([0.5], requests_waiting=28)))
    assert "ullage_requests_queued 28" in watch_metrics(seen)


def test_a_queue_in_front_of_an_engine_that_tells_nothing_is_shown() -> None:
    pool = observe(None, Moment(at=1.0, engine=replace(engine(), facts=(), queued=5))).pool
    assert pool is not None
    assert (pool.running, pool.waiting, pool.queued) == (None, 5, 5)


@pytest.mark.parametrize(("usage", "waiting"), [(0.97, 0), (0.60, 4)])
def test_a_full_pool_nobody_waits_for_and_a_queue_before_an_empty_one_are_no_pressure(usage: float, waiting: int) -> None:
    assert kinds(looks(usage_over_time([usage] * 4, requests_waiting=waiting, requests_running=4))) == set()


def test_preemptions_that_are_counted_ring_until_the_count_rests() -> None:
    counts = [0, 0, 18, *[18] * 6]
    moments = [Moment(at=float(at), engine=engine(kv_cache_usage=0.5, preemptions=count)) for at, count in enumerate(counts)]
    assert AlarmKind.POOL in kinds(looks(moments[:4]))
    assert AlarmKind.POOL not in kinds(looks(moments))


def test_a_restarted_engine_whose_counters_begin_again_has_no_preemptions() -> None:
    moments = [Moment(at=float(at), engine=engine(kv_cache_usage=0.5, preemptions=count)) for at, count in enumerate([40, 40, 0, 0])]
    assert kinds(looks(moments)) == set()


def test_the_forecast_says_when_the_pool_is_full() -> None:
    (forecast,) = looks(usage_over_time([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], seconds=60.0)).forecasts
    assert forecast.subject == "pool"
    assert forecast.seconds == pytest.approx(240.0)
    assert duration(forecast.seconds) == "4 min"


def test_a_pool_that_comes_and_goes_has_no_forecast() -> None:
    assert looks(usage_over_time([0.1, 0.5, 0.2, 0.6, 0.1, 0.5, 0.2])).forecasts == ()


def test_one_card_that_holds_more_beyond_its_promise_than_another_is_uneven() -> None:
    one, other = promise("gpu0"), promise("gpu1")
    both = replace(one, devices=(*one.devices, *other.devices))
    even = (card("gpu0"), card("gpu1"))
    assert kinds(observe(both, Moment(at=1.0, devices=even, host=host()))) == set()
    uneven = (card("gpu0"), card("gpu1", held=34 * GiB))
    seen = observe(both, Moment(at=1.0, devices=uneven, host=host()))
    assert alarm(seen, AlarmKind.IMBALANCE).subject == "gpu0"


def test_a_plan_that_is_uneven_on_purpose_raises_nothing() -> None:
    one, other = promise("gpu0"), promise("gpu1", peak=20 * GiB)
    both = replace(one, devices=(*one.devices, *other.devices))
    seen = observe(both, Moment(at=1.0, devices=(card("gpu0"), card("gpu1", held=20 * GiB)), host=host()))
    assert kinds(seen) == set()


def growing(bytes_a_look: int, *, usage: float, loaded: bool) -> list[Moment]:
    """An engine whose private memory grows, with a load that grows too or rests."""

    def one(at: int) -> Moment:
        process = ProcessMemory(pid=101, parent=1, name="engine", anon_bytes=GiB + at * bytes_a_look, file_bytes=0, shmem_bytes=0)
        told = engine(kv_cache_usage=usage + (0.01 * at if loaded else 0), requests_running=4)
        return Moment(at=at * 10.0, host=host(processes=(process,)), engine=told)

    return [one(at) for at in range(20)]


def test_memory_that_grows_while_the_load_rests_is_a_leak() -> None:
    seen = looks(growing(16 * MiB, usage=0.3, loaded=False))
    assert kinds(seen) == {AlarmKind.LEAK}
    assert "96.0 MiB a minute" in alarm(seen, AlarmKind.LEAK).text


def test_memory_that_grows_with_its_load_or_hardly_at_all_is_no_leak() -> None:
    assert kinds(looks(growing(16 * MiB, usage=0.3, loaded=True))) == set()
    assert kinds(looks(growing(MiB, usage=0.3, loaded=False))) == set()


def test_memory_that_grows_under_an_unknown_load_is_not_called_a_leak() -> None:
    moments = [replace(moment, engine=None) for moment in growing(16 * MiB, usage=0.3, loaded=False)]
    assert kinds(looks(moments)) == set()


def test_an_engine_that_loads_its_weights_and_then_rests_does_not_leak() -> None:
    loading = [replace(moment, engine=None) for moment in growing(GiB, usage=0.0, loaded=False)]
    ready = [replace(loading[-1], at=200.0 + at, engine=engine(kv_cache_usage=0.0, requests_running=0)) for at in range(10)]
    assert kinds(looks([*loading, *ready])) == set()


def test_a_host_that_swaps_stalls_or_runs_out_rings() -> None:
    swaps = [Moment(at=float(at), host=host(swapped_out_bytes=at * 8 * MiB)) for at in range(4)]
    assert kinds(looks(swaps)) == {AlarmKind.SWAP}
    assert kinds(looks([Moment(at=0.0, host=host(pressure=Pressure(some=0.2, full=0.0)))])) == {AlarmKind.PRESSURE}
    assert kinds(looks([Moment(at=0.0, host=host(available_bytes=GiB))])) == {AlarmKind.HOST}
    assert kinds(looks([Moment(at=0.0, host=host(pressure=Pressure(some=0.01, full=0.0), swapped_out_bytes=GiB))])) == set()


def test_an_engine_that_is_not_healthy_rings_and_one_that_has_no_such_page_does_not() -> None:
    assert kinds(looks([Moment(at=0.0, engine=engine(healthy=False))])) == {AlarmKind.ENGINE}
    assert kinds(looks([Moment(at=0.0, engine=engine(healthy=None))])) == set()


def test_host_memory_of_many_processes_counts_shared_pages_once() -> None:
    one = ProcessMemory(pid=1, parent=0, name="a", anon_bytes=100, file_bytes=50, shmem_bytes=30)
    both = (one, replace(one, pid=2))
    assert host_bytes(HostReading(at=0.0, processes=both)) == 280
    shares = tuple(replace(process, pss_bytes=120) for process in both)
    assert host_bytes(HostReading(at=0.0, processes=shares)) == 240
    assert host_bytes(HostReading(at=0.0, processes=())) is None


WORDS = ("vllm", "serve", "Qwen/Qwen3-8B", "--max-model-len", "8192")


def test_a_promise_is_the_same_from_the_plan_and_from_its_json() -> None:
    for command, gpu in ((WORDS, "2xH100"), (("llama-server", "-m", "Qwen3-8B", "-c", "4096"), "24GiB")):
        made = make_check(CHECK.flags({"command": command, "gpu": gpu, "model": "Qwen3-8B", "reserve": "1GiB"}), real.world())
        assert promise_from(wire.loads(wire.dumps(plan_values(made)))) == promise_of(made)


def test_a_promise_leaves_other_processes_out_of_the_engines_peak() -> None:
    flags = {"model": "Qwen3-8B", "engine": "llama_cpp", "gpu": "24GiB", "context": "4096"}
    free = promise_of(plan.make_plan(plan.VERB.flags(flags), real.world()))
    shared = promise_of(plan.make_plan(plan.VERB.flags({**flags, "reserve": "2GiB"}), real.world()))
    assert shared.devices[0].peak == free.devices[0].peak
    assert shared.devices[0].of(Part.OTHERS) == Amount.exactly(2 * GiB)


def test_memory_of_the_processor_and_of_the_host_is_one_promise() -> None:
    flags = {"model": "HuggingFaceTB/SmolLM2-135M-Instruct", "engine": "transformers", "gpu": "cpu", "reserve": "0"}
    found = promise_of(plan.make_plan(plan.VERB.flags(flags), real.world()))
    assert [device.device for device in found.devices] == ["host"]
    assert found.devices[0].of(Part.WEIGHTS) is not None
    assert found.devices[0].of(Part.REST) is not None


@pytest.mark.parametrize("text", ["{}", "[]", '{"schema": "ullage.plan/2"}', '{"schema": "ullage.plan/1", "devices": 3}'])
def test_a_file_that_is_no_plan_is_refused_by_name(text: str) -> None:
    with pytest.raises(MalformedFileError, match="plan"):
        promise_from(wire.loads(text))


def test_every_metric_is_described_and_written_once_with_its_labels() -> None:
    told = engine(kv_tokens=100_000, kv_cache_usage=0.99, requests_waiting=2, requests_running=1, preemptions=3)
    page = watch_metrics(looks([Moment(at=1.0, devices=(card(),), host=host(swapped_out_bytes=5), engine=told)], promise()))
    samples = [line for line in page.splitlines() if not line.startswith("#")]
    assert len({line.rsplit(" ", 1)[0] for line in samples}) == len(samples)
    assert {line.split("{")[0].split(" ")[0] for line in samples} <= {metric.name for metric in METRICS}
    assert 'ullage_alarm{kind="pool",subject="pool"} 1' in samples
    assert page.count("# TYPE ullage_seen_bytes gauge") == 1


@pytest.mark.parametrize(
    ("held", "said"), [(39, "what is seen is within the plan's bounds"), (20, "nothing seen is above the plan's bounds, and some of it")]
)
def test_the_headline_says_no_more_than_its_table(held: int, said: str) -> None:
    seen = observe(promise(), Moment(at=1.0, devices=(card(held=held * GiB, used=held * GiB + GiB),), host=host()))
    text = " ".join(plain_text(watch_document(seen), Look(120, is_ascii=True)).split())
    assert ("below its bounds" in text) is (held == 20)
    assert f"OK {said}" in text


def test_a_line_says_what_matters() -> None:
    told = engine(kv_tokens=100_000, kv_cache_usage=0.5, requests_waiting=2, requests_running=1, preemptions=0)
    line = watch_line(looks([Moment(at=1.0, devices=(card(),), host=host(), engine=told)], promise()))
    assert "pool 50.0% used of 100,000 tokens, 1 running, 2 waiting, 0 preemptions" in line
    assert "gpu0 40.00 GiB in use of 80.00 GiB" in line
    assert "\n" not in line
