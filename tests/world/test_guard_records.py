"""What became of every request, in a file: whole, bounded, and without what anybody asked."""

import errno
import re
import stat
import time
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest
from tests.world.engines_on_loopback import ask, loopback_engine, on_a_loop
from tests.world.test_guard import guarded

from ullage import wire
from ullage.domain.guard import GuardOptions, GuardRecord
from ullage.errors import WorldError
from ullage.world.proxy.journal import Journal

ROOT = Path(__file__).parent.parent.parent
RECORD = GuardRecord("r1", "key 0", "/v1/completions", "finished", 200, 0.1, 0.2, 3, 1, True, 7, 160, 160, 0)


@on_a_loop
async def test_every_request_is_a_line_that_says_how_it_ended_and_nothing_of_what_it_asked(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text('{"older": 1}\n')
    async with loopback_engine() as engine, guarded(engine, journal=str(path)) as guard, aiohttp.ClientSession() as session:
        headers = {"Authorization": "Bearer open-sesame"}
        async with session.post(f"{guard.url}/v1/completions", data=wire.dumps({"prompt": "swordfish now"}), headers=headers) as seen:
            await seen.read()
        assert (await ask(session, guard.url, "/v1/completions", prompt="word " * 900))[0] == 400
        kept = guard.records()
    older, *lines = [wire.loads(line) for line in path.read_text().splitlines()]
    assert older == {"older": 1}
    assert [{name: value for name, value in line.items() if name != "at"} for line in lines] == [record._asdict() for record in kept]  # type: ignore[union-attr]
    assert [record.ended for record in kept] == ["finished", "refused"]
    assert not any(word in path.read_text() for word in ("swordfish", "open-sesame"))


def test_a_file_that_is_full_takes_the_place_of_the_one_before_it(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    journal = Journal(str(path), 2000)
    for _ in range(50):
        journal.add(RECORD)
    journal.close()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["records.jsonl", "records.jsonl.1"]
    for file in files:
        assert file.stat().st_size < 2000 + 500
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert all(isinstance(wire.loads(line), dict) for line in file.read_text().splitlines())


def test_a_file_that_cannot_be_written_ends_the_start_and_one_that_fails_later_ends_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (tmp_path, tmp_path / "not there" / "records.jsonl", "\0"):
        with pytest.raises(WorldError, match="--records"):
            Journal(str(path), GuardOptions().journal_bytes)
    journal = Journal(str(tmp_path / "records.jsonl"), 2000)
    journal._file.close()
    journal.add(RECORD)
    journal.add(RECORD)
    journal.close()
    said = capsys.readouterr().err
    assert "cannot be written" in said
    assert "2 requests are not written" in said


@pytest.mark.parametrize("failing", ["replace", "open"])
def test_a_file_that_could_not_be_begun_anew_loses_no_line_and_is_begun_anew_later(
    failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "records.jsonl"
    journal = Journal(str(path), 2000)

    def refused(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    def written() -> int:
        with suppress(FileNotFoundError):  # it is put aside just now
            return sum(len(file.read_text().splitlines()) for file in tmp_path.iterdir())
        return 0

    def write_down(up_to: int) -> None:
        for _ in range(8):
            journal.add(RECORD)
        deadline = time.monotonic() + 5
        while written() != up_to:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    with monkeypatch.context() as broken:
        broken.setattr(*((Path, "replace") if failing == "replace" else (Journal, "_opened")), refused)
        write_down(up_to=8)
    assert "cannot be begun anew: Permission denied" in capsys.readouterr().err
    write_down(up_to=16)
    journal.close()
    assert capsys.readouterr().err == ""
    assert path.stat().st_size < 2000 < path.with_name("records.jsonl.1").stat().st_size


@pytest.mark.parametrize("path", ["x" * 300, "~nobody-of-this-name/records.jsonl"])
def test_a_name_that_no_file_can_have_ends_the_start_with_the_option_to_change(path: str) -> None:
    with pytest.raises(WorldError, match="--records"):
        Journal(path, 2000)


def test_the_page_names_every_error_and_every_key_of_a_record_and_no_other() -> None:
    page = (ROOT / "docs" / "guard.md").read_text()
    _, errors, records, *_ = re.split(r"^## (?:Errors|Records|Metrics)$", page, flags=re.MULTILINE)
    source = "".join(path.read_text() for path in (ROOT / "src" / "ullage" / "world" / "proxy").glob("*.py"))
    said = set(re.findall(r"""(?:code(?:: str)? ?= ?|[.}]", )"([a-z_]+)[",)]""", source))
    assert named(errors) == said
    assert named(records) == {"at", *GuardRecord._fields}


def named(section: str) -> set[str]:
    """The words in the first column of a table."""
    return {word for cell in re.findall(r"^\| (`.*?) \|", section, flags=re.MULTILINE) for word in re.findall(r"`(\w+)`", cell)}
