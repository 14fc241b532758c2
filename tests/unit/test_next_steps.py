"""The next step after a file that could not be used is one that can help."""

import errno
import mmap
from pathlib import Path

import pytest

from ullage.errors import InputError, WorldError, step_after
from ullage.runtime.loading import mapped
from ullage.runtime.serve import asked as runtime_asked
from ullage.world.proxy import asked as guard_asked


def test_a_machine_that_is_short_of_something_is_not_told_to_look_at_the_path() -> None:
    assert "free memory" in step_after(OSError(errno.ENOMEM, "Cannot allocate memory"))
    assert "open files" in step_after(OSError(errno.EMFILE, "Too many open files"))
    assert "free space" in step_after(OSError(errno.ENOSPC, "No space left on device"))
    assert "read" not in step_after(OSError(errno.EIO, "Input/output error"))  # it may have been a write
    for number in (errno.ENOENT, errno.EACCES):
        assert step_after(OSError(number, "")) == step_after(EOFError()) == "check the path and its permissions"
    assert step_after(OSError(errno.ENOENT, ""), "give another path to -o") == "give another path to -o"


def test_weights_that_find_no_address_space_say_what_is_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_words: object, **_named: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr(mmap, "mmap", full)
    with pytest.raises(WorldError, match="Cannot allocate memory; free memory"):
        mapped._map(tmp_path / "model.gguf")


@pytest.mark.parametrize("body", [b'{"a": ' * 100 + b"1" + b"}" * 100, b"{", b"\xff"], ids=["nested too deep", "broken off", "no text"])
def test_a_body_that_cannot_be_read_is_said_in_one_sentence(body: bytes) -> None:
    for read in (lambda: guard_asked.read("/v1/completions", body), lambda: runtime_asked.document_of(body)):
        with pytest.raises(InputError, match=r"^The body cannot be read: (the JSON text is nested|not JSON|not UTF-8)"):
            read()
