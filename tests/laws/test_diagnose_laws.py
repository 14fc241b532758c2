"""Laws of reading logs: nothing raises, nothing grows without bound, and what came before changes nothing that is told."""

import tracemalloc
from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from ullage import engines
from ullage.catalog.death_messages import read_death
from ullage.catalog.loose_words import read_least
from ullage.commands.diagnose import VERB, make_diagnosis
from ullage.domain.cause import Log
from ullage.planning.diagnose_command import arguments_of, command_of
from ullage.planning.diagnose_gather import gather
from ullage.planning.diagnose_lines import bare
from ullage.world import real

KNOWN = engines.engines()
AIDS = {name: engines.first_aid(name) for name in KNOWN}
DEATH = "CUDA out of memory. Tried to allocate 1.00 GiB. GPU 0 has a total capacity of 23.52 GiB of which 2.00 MiB is free."
# Pieces of what engines say, so that chance meets the patterns.
PIECES = st.sampled_from(
    (
        DEATH,
        "vllm serve a --max-model-len 99999999999999999999",
        "KV cache is needed",
        "Model loading took 15.3 GiB",
        "args: Namespace(model='x', tp='1')",
        "Traceback (most recent call last):",
        '  File "x.py", line 3, in load_model',
        "CUDA0 KV buffer size = 1.00 MiB",
        "Killed",
        '{"log": "x"}',
        "{",
        "(Worker pid=1) ",
        "# GPU blocks: 0, # CPU blocks: 12",
        "max seq len (0) is larger than the maximum number of tokens that can be stored in KV cache (0)",
        "\x1b[31m",
        "\r",
    )
)
LINES = st.lists(st.one_of(PIECES, st.text(max_size=80), st.tuples(PIECES, st.text(max_size=20)).map("".join)), max_size=12)


def read(lines: "list[str] | Iterator[str]") -> Log:
    return gather(lines, KNOWN, AIDS)


@settings(max_examples=150, deadline=None)
@given(LINES)
def test_no_log_raises(lines: list[str]) -> None:
    make_diagnosis(VERB.flags({"offline": True, "gpu": "24GiB"}), lines, real.world(offline=True))


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=400))
def test_no_line_raises(line: str) -> None:
    bare(line)
    command_of(line)
    arguments_of(line)
    read_death(line)
    read_least(line)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(alphabet="abcdefgh ", max_size=40), max_size=30))
def test_dull_lines_before_a_death_change_only_its_number(before: list[str]) -> None:
    alone, after = read([DEATH]), read([*before, DEATH])
    assert [seen.fact for seen in after.sightings] == [seen.fact for seen in alone.sightings]
    assert {seen.line for seen in after.sightings} == {len(before) + 1}


def test_a_long_log_takes_no_more_room_than_a_short_one() -> None:
    def lines(count: int) -> Iterator[str]:
        for number in range(count):
            yield (
                f"INFO 11-01 09:10:10 [loggers.py:248] Engine 000: Avg prompt throughput: {number}.0 tokens/s, Running: {number % 9} reqs, "
                f"Waiting: 0 reqs, GPU KV cache usage: {number % 100}.0%\n"
            )
            yield f"word{number} id={number:x}\n"
        yield DEATH

    def peak(count: int) -> int:
        tracemalloc.start()
        read(lines(count))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(4_000)  # compiles what is searched for
    assert peak(40_000) < 2 * peak(4_000)
