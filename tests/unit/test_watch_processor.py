"""What is seen of an engine that computes on the processor, and by a page that tells its own bytes."""

from dataclasses import replace

import pytest
from tests.unit.test_watch import kinds, rows
from tests.watching import card, engine, facts, host, promise

from ullage.domain.facts import Fact
from ullage.domain.machine import HOST
from ullage.domain.reading import Moment, ProcessMemory
from ullage.planning.promise import Part
from ullage.planning.watch import observe
from ullage.units import GiB

HELD = ProcessMemory(pid=101, parent=1, name="engine", anon_bytes=39 * GiB, file_bytes=0, shmem_bytes=0, pss_bytes=39 * GiB)


@pytest.mark.parametrize("name", ["weights_bytes", "seen.weights"])
def test_weights_and_rest_of_an_engine_on_the_processor_stand_with_the_host(name: str) -> None:
    told = replace(engine(), facts=facts(**{name: 16 * GiB, "kv_tokens": 100_000}))
    for devices in ((), (card(),)):  # cards that it does not use
        seen = observe(promise(HOST), Moment(at=1.0, devices=devices, host=host(processes=(HELD,)), engine=told))
        found = rows(seen, HOST)
        assert (found[Part.WEIGHTS].seen_bytes, found[Part.REST].seen_bytes) == (16 * GiB, 3 * GiB)
        assert not any(Part.WEIGHTS in rows(seen, state.device) for state in seen.devices if state.device != HOST)


def test_ranks_on_one_processor_lie_there_together() -> None:
    told = replace(engine(), facts=tuple(Fact(name="weights_bytes", value=8 * GiB, details=(("rank", str(rank)),)) for rank in (0, 1)))
    seen = observe(promise(HOST), Moment(at=1.0, host=host(processes=(HELD,)), engine=told))
    assert rows(seen, HOST)[Part.WEIGHTS].seen_bytes == 16 * GiB


def test_a_page_that_tells_its_own_bytes_is_of_the_one_device_and_of_none_among_several() -> None:
    told = replace(engine(), facts=facts(**{"seen.weights": 16 * GiB, "kv_tokens": 100_000}))
    one = promise()
    seen = observe(one, Moment(at=1.0, devices=(card(),), host=host(), engine=told))
    assert (rows(seen)[Part.WEIGHTS].seen_bytes, rows(seen)[Part.REST].seen_bytes) == (16 * GiB, 3 * GiB)
    assert Part.WEIGHTS not in rows(seen, HOST)
    two = replace(one, devices=(*one.devices, *promise("gpu1").devices))
    seen = observe(two, Moment(at=1.0, devices=(card(), card("gpu1")), host=host(), engine=told))
    assert rows(seen)[Part.WEIGHTS].seen_bytes is None
    assert not kinds(seen)
