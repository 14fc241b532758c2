"""What `diagnose` rests on and how much it keeps: patterns that cannot be taken apart, commands that never end, talk beside an end."""

import importlib.util
import re
import sys

import pytest

from ullage.commands.diagnose import VERB, make_diagnosis
from ullage.planning import diagnose_phrases, diagnose_words
from ullage.planning.diagnose_command import Commands
from ullage.world import real


def test_where_python_keeps_its_parser_elsewhere_every_line_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(re, "_parser")
    monkeypatch.setitem(sys.modules, "re._parser", None)
    spec = importlib.util.spec_from_file_location("phrases_without_a_parser", str(diagnose_phrases.__file__))
    assert spec is not None
    assert spec.loader is not None
    without = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(without)
    monkeypatch.setattr(diagnose_words, "parts_of", without.parts_of)
    words = diagnose_words.Words([re.compile("out of memory")])
    assert words.find(b"nothing of the kind")
    assert words.among([b"one", b"two"]) == {0, 1}


def test_of_a_command_that_goes_on_for_ever_no_more_is_kept_than_is_read() -> None:
    commands = Commands()
    assert commands.take(1, "vllm serve MODEL_NAME \\")
    for number in range(2, 5000):
        assert commands.take(number, f"--option-{number} 1 \\")
    assert len(commands.open) < 9000
    assert commands.take(5000, "--last 1")
    (_, words), *more = commands.found
    assert not more
    assert not commands.open
    assert words[:5] == ("vllm", "serve", "MODEL_NAME", "--option-2", "1")


def test_the_talk_of_a_shutdown_is_said_to_be_none_beside_an_end_that_nothing_explains() -> None:
    end = "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}"
    talk = (
        "[rank0]:[W1001 10:00:00.1 ProcessGroupNCCL.cpp:1250] Warning: WARNING: destroy_process_group() was not called before program exit"
    )
    lines = ["INFO 10-01 10:00:00 [api_server.py:1] vLLM API server version 0.11.0\n", f"{end}\n", f"{talk}\n"]
    found = make_diagnosis(VERB.flags({"offline": True}), iter(lines), real.world(offline=True))
    assert found.ended is not None
    assert found.ended.line == 2
    assert [one.line for one in found.noise] == [3]
