"""What is not looked at in a log, since a line of its form was, changes nothing that is told of it."""

import random
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ullage import engines
from ullage.domain.cause import Log
from ullage.planning import diagnose_gather, diagnose_lines, diagnose_passed, diagnose_sieve
from ullage.planning.diagnose_asked import asked
from ullage.planning.diagnose_gather import gather
from ullage.planning.diagnose_lines import Bare

KNOWN = engines.engines()
AIDS = {name: engines.first_aid(name) for name in KNOWN}
LOGS = sorted((Path(__file__).parent.parent / "data" / "logs").glob("*.log"))


class LooksAtAll(diagnose_sieve.Sieve):
    """Remembers nothing, so that every line is looked at."""

    def learn(self, form: bytes, line: str, pieces: Sequence[Bare], worth: diagnose_sieve.Worth) -> None:
        """Nothing."""


class PassesNothing(diagnose_passed.Passed):
    """Lets no line pass unread."""

    def among(self, *_asked: object) -> dict[int, diagnose_sieve.Worth]:
        """None."""
        return {}


def sieved(lines: list[str]) -> Log:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diagnose_gather, "Passed", PassesNothing)
        return gather(lines, KNOWN, AIDS)


def looked_at(lines: list[str]) -> Log:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diagnose_gather, "Sieve", LooksAtAll)
        return sieved(lines)


def passed(lines: list[str], passes: type[diagnose_passed.Passed]) -> Log:
    """What is told where lines pass from the first on, and where no shape of a line is remembered that could tell less of the others."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (diagnose_passed, diagnose_gather):
            patch.setattr(module, "FIRST_LINES", 0)
        patch.setattr(diagnose_gather, "_MOST_SHAPES", 0)
        patch.setattr(diagnose_gather, "Passed", passes)
        return gather(lines, KNOWN, AIDS)


BEGINNINGS = st.sampled_from(
    (
        "",
        "",
        "(Worker_TP# pid=##) ",
        "INFO 11-2# 0#:1#:## [core.py:##] ",
        "[2026-11-2# 0#:1#:## TP#] ",
        "Nov 2# 0#:1#:## node# vllm[##]: ",
        "[pod/vllm-@-x/server] ",
        "vllm-# | ",
        "[#,##]<stdout>: ",
        "[@]: ",
        "@ | ",
        "\x1b[3#m",
        "> ",
    )
)
SAID = st.sampled_from(
    (
        'INFO:     10.0.##.#:##### - "POST /v1/chat/completions HTTP/1.1" ###',
        'INFO:     10.0.##.#:##### - "POST /v1/chat/completions HTTP/1.1" 200 OK',
        'INFO:     10.0.##.#:##### - "POST /v1/chat/completions HTTP/1.1" 5## Internal Server Error',
        "Received request cmpl-@: prompt: 'Killed', params: SamplingParams(n=#)",
        "Received SIGTERM error #",
        "process ##### had status # and exit code ### at 1#:##:##",
        "Engine 000: Avg prompt throughput: ##.# tokens/s, Running: # reqs, Waiting: # reqs, GPU KV cache usage: ##.#%, ",
        "Decode batch. #running-req: #, #token: ###, token usage: 0.##, #queue-req: #, ",
        "KV cache pool is full. Retract requests. #retracted_reqs: #",
        "Added request chatcmpl-@.",
        "Added request @",
        "slot @ ## Killed",
        "Killed",
        "word # of ##",
        "exit code ###",
        "Tried to allocate #.## GiB",
        "GPU 0 has a total capacity of 23.5# GiB of which #.## MiB is free.",
        '  File "x@.py", line ##, in load_model',
        "Traceback (most recent call last):",
        "python -m vllm.entrypoints.openai.api_server --port 80## \\",
        "--max-model-len ####",
        '{"log": "Added request @ ##\\n", "stream": "stdout"}',
        '{"log": "a \\u00## ##\\n", "pid": #}',
        "Loading: ##%\rLoading: 9#%",
        "\r",
        "",
        " ",
    )
)


def _filled(text: str, number: random.Random) -> str:
    text = re.sub("#(?=[^a-z]|$)", lambda _: number.choice("0123456789"), text)
    return re.sub("@", lambda _: "".join(number.choice("0123456789abcdef") for _ in range(number.choice((4, 8, 8, 32)))), text)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(BEGINNINGS, SAID).map("".join), min_size=1, max_size=6),
    st.integers(1, 120),
    st.sampled_from(("\n", "\n", "\r\n", "")),
    st.randoms(use_true_random=False),
)
def test_a_log_of_few_forms_is_told_as_if_every_line_were_looked_at(forms: list[str], count: int, end: str, number: random.Random) -> None:
    lines = [_filled(number.choice(forms), number) + end for _ in range(count)]
    assert sieved(lines) == looked_at(lines)


@pytest.mark.parametrize("path", LOGS, ids=lambda path: path.stem)
def test_a_log_in_which_lines_come_again_with_other_numbers_is_told_as_if_every_line_were_looked_at(path: Path) -> None:
    number = random.Random(7)  # noqa: S311 - no secret
    whole = path.read_text(encoding="utf-8").splitlines(keepends=True)
    again = [
        "".join(number.choice("0123456789") if letter.isdigit() and letter != "2" else letter for letter in line) for line in whole * 30
    ]
    lines = [*whole, *again, *whole]
    assert sieved(lines) == looked_at(lines)


def test_most_lines_of_a_long_log_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    number = random.Random(7)  # noqa: S311 - as above
    said = (
        "10.0.##.## - POST /v1/completions 200 OK",
        "INFO 11-21 08:00:## [async_llm.py:##] Added request chatcmpl-@.",
        "Running: ## reqs",
    )
    lines = [_filled(said[at % 3], number) + "\n" for at in range(3000)]
    looked: list[str] = []
    take = diagnose_gather.pieces_of
    monkeypatch.setattr(diagnose_gather, "pieces_of", lambda at, line: looked.append(line) or take(at, line))
    sieved(lines)
    assert len(looked) < len(lines) // 10


def test_what_is_remembered_of_forms_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnose_sieve, "_MOST", 50)
    sieve = diagnose_sieve.Sieve()
    for count in range(1, 500):
        sieve.learn(b"x" * count, "x", [], diagnose_sieve.DULL)
        assert len(sieve.known) <= 52


def _noise(number: random.Random) -> str:
    """A line of an application that runs beside an engine."""
    word = "".join(number.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(number.randrange(3, 12)))
    said = (
        f'10.0.0.{number.randrange(256)} - - "GET /{word} HTTP/1.1" 200 {number.randrange(9999)}',
        f'{{"level": "info", "status": 200, "message": "{word} of\\t{word} \\u663e\\u5b58"}}',
        f'{{"message": "10.0.0.1 - \\"POST /v1/{word} HTTP/1.1\\" 200 OK"}}',
        f"{number.getrandbits(128):032x}",
        f"user: {word} 多少显存 {word}?",
        f"\x1b[3{number.randrange(8)}m{word}\x1b[0m",
        f"{word}: 10%|#\r{word}: 20%|##",
        f"\tat com.example.{word}({word}.java:{number.randrange(999)})",
        "   ",
        "\x1b[0m",
    )
    return number.choice(said) + "\n"


@pytest.mark.parametrize("path", LOGS, ids=lambda path: path.stem)
def test_lines_that_pass_change_nothing_that_is_told(path: Path) -> None:
    number = random.Random(5)  # noqa: S311 - no secret
    whole = path.read_text(encoding="utf-8").splitlines(keepends=True)[-150:]
    lines = [line for said in whole for line in (*(_noise(number) for _ in range(number.choice((0, 0, 2)))), said)]
    lines += [_noise(number) for _ in range(20)]
    assert passed(lines, diagnose_passed.Passed) == passed(lines, PassesNothing)


def test_most_lines_of_an_application_pass() -> None:
    number = random.Random(5)  # noqa: S311 - as above
    lines = [_noise(number) for _ in range(2000)]
    through = diagnose_passed.Passed(asked(known.read_log_line, AIDS[name]) for name, known in KNOWN.items())
    assert len(through.among(diagnose_passed.FIRST_LINES, lines, [line.encode() for line in lines], {})) > len(lines) * 0.95


@pytest.mark.parametrize("name", KNOWN)
def test_whatever_an_engine_reads_one_of_its_patterns_finds(name: str) -> None:
    patterns, read = AIDS[name].reads, KNOWN[name].read_log_line
    assert patterns is not None
    for path in LOGS:
        for line in path.read_text(encoding="utf-8").splitlines():
            text = " ".join(diagnose_lines.bare(line)[0].split())
            assert read(text) is None or any(pattern.search(text) for pattern in patterns)
