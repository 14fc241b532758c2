import gzip
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ullage.errors import InputError, MalformedFileError
from ullage.ports import Record
from ullage.world import _json_records, logs
from ullage.world.datasets import open_data

SHARE = [{"id": str(at), "conversations": [{"from": "human", "value": f"q{at} 中 😀"}, {"from": "gpt", "value": "a"}]} for at in range(5)]


def records(path: Path) -> list[Record]:
    data = open_data(str(path))
    assert data is not None
    return list(data.records())


def values(path: Path) -> list[object]:
    return [record.value for record in records(path)]


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("is_ascii", [True, False])
def test_an_array_is_read_however_it_is_laid_out(tmp_path: Path, indent: int | None, is_ascii: bool) -> None:  # noqa: FBT001 - a case of the table
    path = tmp_path / "share.json"
    path.write_text(json.dumps(SHARE, indent=indent, ensure_ascii=is_ascii), encoding="utf-8")
    assert values(path) == SHARE


def test_lines_and_compressed_lines_are_read_and_a_broken_one_costs_itself(tmp_path: Path) -> None:
    lines = [json.dumps(one) for one in SHARE]
    text = "\n".join([lines[0], '{"broken": ', "", *lines[1:]])
    plain, packed = tmp_path / "a.jsonl", tmp_path / "a.jsonl.gz"
    plain.write_text(text)
    packed.write_bytes(gzip.compress(text.encode()))
    for path in (plain, packed):
        found = records(path)
        assert [one.value for one in found if not one.why] == SHARE
        assert [(one.number, one.line) for one in found if one.why] == [(2, 2)]


def test_a_broken_record_of_an_array_costs_itself(tmp_path: Path) -> None:
    path = tmp_path / "share.json"
    texts = [json.dumps(one) for one in SHARE]
    texts[2] = texts[2].replace('"from": "gpt"', '"from" "gpt"')
    path.write_text("[" + ",\n".join(texts) + "]")
    found = records(path)
    assert [one.value for one in found if not one.why] == [*SHARE[:2], *SHARE[3:]]
    assert [(one.number, one.line) for one in found if one.why] == [(3, 3)]


def test_a_file_that_was_cut_off_says_so_in_its_last_record(tmp_path: Path) -> None:
    path = tmp_path / "share.json"
    path.write_text(json.dumps(SHARE)[:-30])
    found = records(path)
    assert [one.value for one in found[:-1]] == SHARE[:-1]
    assert found[-1].why


def test_objects_over_several_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("\n".join(json.dumps(one, indent=2) for one in SHARE))
    assert values(path) == SHARE


def test_text_has_a_prompt_a_line_or_where_there_are_empty_lines_a_paragraph(tmp_path: Path) -> None:
    lines, paragraphs = tmp_path / "a.txt", tmp_path / "b.txt"
    lines.write_text("one\ntwo\n")
    paragraphs.write_text("one\nmore\n\n\ntwo\n")
    assert values(lines) == ["one", "two"]
    assert values(paragraphs) == ["one\nmore", "two"]
    assert [record.line for record in records(paragraphs)] == [1, 5]


def test_rows_of_parquet_are_read_and_written_again(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path, kept, dropped = (tmp_path / name for name in ("a.parquet", "kept.parquet", "dropped.parquet"))
    parquet.write_table(arrow.Table.from_pylist(SHARE), path)
    data = open_data(str(path))
    assert data is not None
    found = list(data.records())
    assert [one.value for one in found] == SHARE
    for goal, reason in ((kept, ""), (dropped, "too long")):
        writer = data.writer(str(goal))
        for one in found[:2]:
            writer.write(one, dropped=reason)
        assert not goal.exists()
        writer.close()
    assert values(kept) == SHARE[:2]
    assert values(dropped) == [{**one, "dropped": "too long"} for one in SHARE[:2]]


def test_what_is_kept_is_written_letter_by_letter(tmp_path: Path) -> None:
    path, kept = tmp_path / "a.json", tmp_path / "kept.json"
    texts = [r'{"id":"1",  "prompt":"\u00e9 \ud800"}', '{"id":"2","prompt":"x","id":"3"}']
    path.write_bytes(("[" + ",".join(texts) + "]").encode() + b"\n")
    data = open_data(str(path))
    assert data is not None
    writer = data.writer(str(kept))
    for record in data.records():
        writer.write(record)
    writer.close()
    assert kept.read_text() == "[\n" + ",\n".join(texts) + "\n]\n"


@pytest.mark.parametrize(("name", "content"), [("empty.json", b""), ("blank.txt", b" \n\n")])
def test_an_empty_file_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="empty"):
        open_data(str(tmp_path / name))


def test_bytes_that_are_no_text_are_refused_and_letters_of_any_kind_are_not(tmp_path: Path) -> None:
    noise = random.Random(1).randbytes(20_000)  # noqa: S311 - bytes, no secret
    texts = ("été, 中文, \x1b[1mbold\x1b[0m\r\n" * 50, "Ünï" * 500, "a\x01b", "x")
    for name, content in {"noise": noise, "noise.txt": bytes(at or 1 for at in noise)}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match="is no text"):
            open_data(str(tmp_path / name))
        with pytest.raises(InputError, match="is no text"):
            next(logs.lines(str(tmp_path / name)))
    for number, content in enumerate(text.encode(code, "replace") for text in texts for code in ("utf-8", "latin-1")):
        (tmp_path / str(number)).write_bytes(content)
        assert open_data(str(tmp_path / str(number))) is not None
        assert next(logs.lines(str(tmp_path / str(number))))


def test_a_folder_is_no_data_and_nothing_is_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        open_data(str(tmp_path))
    assert open_data(str(tmp_path / "none.json")) is None


def test_a_broken_parquet_file_is_said_to_be_one(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 and nothing more")
    with pytest.raises(MalformedFileError, match="Parquet"):
        records(path)


@given(st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=30), min_size=1, max_size=3), max_size=6), st.integers(1, 40))
def test_records_do_not_depend_on_where_pieces_end(found: list[dict[str, str]], piece: int) -> None:
    class Slow:
        def __init__(self, text: str) -> None:
            self.text = text

        def read(self, size: int) -> str:
            given, self.text = self.text[: min(size, piece)], self.text[min(size, piece) :]
            return given

    read = _json_records.whole_records(Slow(json.dumps(found)), is_array=True)  # type: ignore[arg-type]
    assert [one.value for one in read] == found


MEASURE = """
import sys
from pathlib import Path
from ullage.world.datasets import open_data
count = sum(1 for _ in open_data(sys.argv[1]).records())
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(count, peak.split()[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read where Linux tells it")
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Five times the records take less than 8 MiB more."""
    peaks = []
    one = json.dumps({"id": "x", "conversations": [{"from": "human", "value": "word " * 500}]})
    for count in (4000, 20000):
        path = tmp_path / f"{count}.json"
        with path.open("w") as file:
            file.write("[")
            file.writelines(f"{one},\n" for _ in range(count - 1))
            file.write(f"{one}]")
        said = subprocess.run([sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=True).stdout.split()
        assert int(said[0]) == count
        peaks.append(int(said[1]))
    assert peaks[1] - peaks[0] < 8 * 1024
