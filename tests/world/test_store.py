"""The store under what happens to files: other processes, kills, other programs, older and newer releases, no room to write."""

import errno
import fcntl
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from tests.runs import promised, seen, stored_run

from ullage import wire
from ullage.domain.baseline import Figure, OutOfMemory, Trial, TrialState
from ullage.domain.case import Settings
from ullage.errors import MalformedFileError, WorldError
from ullage.frozen import replace
from ullage.units import MiB
from ullage.world import _store_tables as tables
from ullage.world import real, store
from ullage.world._state_path import store_path

REMEMBERED = real.RealStore()
ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


def trial(number: int, state: TrialState = TrialState.DONE) -> Trial:
    return Trial(study="a", number=number, at=stored_run().started_at, settings=Settings.of({"n": number}), state=state)


def start(home: Path, program: str, *words: str) -> subprocess.Popen[str]:
    """Another process with the same store, running ``program``."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), *words],
        env={**os.environ, "XDG_STATE_HOME": str(home), "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def is_whole(home: Path) -> bool:
    with sqlite3.connect(home / "ullage" / "ullage.db") as database:
        return bool(database.execute("PRAGMA integrity_check").fetchall() == [("ok",)])


def test_a_run_comes_back_as_it_was_stored(home: Path) -> None:
    event = OutOfMemory(at=stored_run().started_at, device="gpu0", wanted_bytes=5, text="CUDA out of memory")
    run = stored_run(
        promised=(promised(500 * MiB),), seen=(seen(510 * MiB),), out_of_memory=(event,), figures=(Figure(name="x", value=2.5),)
    )
    REMEMBERED.append(run)
    assert REMEMBERED.runs() == (run,)
    assert home.exists()


def test_nothing_is_made_by_asking_what_is_stored(home: Path) -> None:
    assert (REMEMBERED.runs(), REMEMBERED.trials_of("a"), REMEMBERED.delete("x")) == ((), (), False)
    assert list(home.iterdir()) == []


@pytest.mark.usefixtures("home")
def test_runs_are_listed_newest_first_by_engine_and_by_the_beginning_of_their_id() -> None:
    for number in (2, 1, 3):
        REMEMBERED.append(stored_run(number, engine="runtime" if number == 3 else "vllm"))
    assert [run.id for run in REMEMBERED.runs()] == ["run-003", "run-002", "run-001"]
    assert [run.id for run in REMEMBERED.runs(engine="vllm", most=1)] == ["run-002"]
    assert [run.id for run in REMEMBERED.runs(prefix="run-00")] == ["run-003", "run-002", "run-001"]
    assert [run.id for run in REMEMBERED.runs(prefix="run-001")] == ["run-001"]
    assert REMEMBERED.runs(prefix="%") == ()


@pytest.mark.usefixtures("home")
def test_a_run_that_is_stored_again_takes_its_own_place() -> None:
    REMEMBERED.append(stored_run())
    REMEMBERED.append(stored_run(note="later"))
    assert [run.note for run in REMEMBERED.runs()] == ["later"]


@pytest.mark.usefixtures("home")
def test_an_import_adds_what_is_new_and_leaves_what_is_there() -> None:
    REMEMBERED.append(stored_run(1, note="mine"))
    assert REMEMBERED.add((stored_run(1, note="theirs"), stored_run(2))) == 1
    assert [run.note for run in REMEMBERED.runs()] == ["", "mine"]


@pytest.mark.usefixtures("home")
def test_a_deleted_run_is_gone() -> None:
    REMEMBERED.append(stored_run())
    assert [REMEMBERED.delete("run-001"), REMEMBERED.delete("run-001")] == [True, False]
    assert REMEMBERED.runs() == ()


@pytest.mark.usefixtures("home")
def test_a_journal_is_read_in_order_and_a_step_written_again_takes_its_own_place() -> None:
    for number, state in ((2, TrialState.STARTED), (1, TrialState.DONE), (2, TrialState.FAILED)):
        REMEMBERED.append_trial(trial(number, state))
    assert [(one.number, one.state) for one in REMEMBERED.trials_of("a")] == [(1, TrialState.DONE), (2, TrialState.FAILED)]
    assert REMEMBERED.trials_of("b") == ()


def test_only_the_owner_can_read_the_store(home: Path) -> None:
    old = os.umask(0)
    try:
        REMEMBERED.append(stored_run())
    finally:
        os.umask(old)
    for path in (home / "ullage").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE((home / "ullage").stat().st_mode) == 0o700


def test_secrets_are_not_written(home: Path) -> None:
    said = {
        "api_key": "abcdefgh",
        "hf_token": "x",
        "ssl_keyfile": "k.pem",
        "model_loader": "hf_abcdefghijklmnopqrstuvwx",
        "header": "Authorization: Bearer abcdefghijkl",
        "proxy": "http://me:word@host/",
        "max_num_batched_tokens": 2048,
        "tokenizer": "t",
    }
    run = stored_run(settings=Settings.of(said), note="started with --api-key sk-abcdefghijklmnopqrstu")
    REMEMBERED.append(run)
    REMEMBERED.append_trial(replace(trial(1), settings=run.settings, because=run.note))
    assert REMEMBERED.add((replace(run, id="imported"),)) == 1
    everything = b"".join(path.read_bytes() for path in (home / "ullage").iterdir())
    for secret in (b"abcdefgh", b"k.pem", b"me:word"):
        assert secret not in everything
    assert [dict(one.settings.items) for one in REMEMBERED.runs()] == [{"max_num_batched_tokens": 2048, "tokenizer": "t"}] * 2


WRITER = """
    import sys
    from tests.runs import stored_run
    from ullage.world import store
    for number in range(int(sys.argv[2])):
        store.append(stored_run(number, id=f"{sys.argv[1]}-{number}"))
        print(f"{sys.argv[1]}-{number}", flush=True)
"""


def test_writers_that_meet_at_a_store_that_is_not_there_yet_all_get_their_runs_in(home: Path) -> None:
    writers = [start(home, WRITER, name, "25") for name in "abcd"]
    said = [line for writer in writers for line in writer.communicate(timeout=60)[0].split()]
    assert [writer.returncode for writer in writers] == [0] * 4
    assert sorted(run.id for run in REMEMBERED.runs()) == sorted(said)
    assert len(said) == 100
    assert is_whole(home)


def test_a_kill_in_the_middle_of_a_transaction_loses_no_committed_run(home: Path) -> None:
    program = """
        import time
        from tests.runs import stored_run
        from ullage.world import _store_tables as tables, store
        from ullage.world._store_file import writing
        store.append(stored_run(1, id="committed"))
        with writing() as database:
            for number in range(2000):  # more than SQLite keeps in memory: half of it lies in the log
                run = stored_run(number, id=f"half-{number}", note="x" * 400)
                database.execute(f"REPLACE {tables.INTO_RUNS}", tables.row_of(run))
            print("inside", flush=True)
            time.sleep(60)
    """
    other = start(home, WRITER, "other", "300")
    killed = start(home, program)
    assert killed.stdout is not None
    assert killed.stdout.readline().strip() == "inside"
    killed.send_signal(signal.SIGKILL)
    killed.wait(10)
    said = other.communicate(timeout=60)[0].split()
    assert other.returncode == 0
    assert {run.id for run in REMEMBERED.runs()} == {"committed", *said}
    assert is_whole(home)
    REMEMBERED.append(stored_run(9, id="after"))
    assert len(REMEMBERED.runs()) == 302


@pytest.mark.slow
def test_writers_killed_at_any_moment_lose_nothing_they_said_was_committed(home: Path) -> None:
    said: set[str] = set()
    for turn in range(6):
        pair = [start(home, WRITER, f"{name}{turn}", "100000") for name in "ab"]
        for writer in pair:
            assert writer.stdout is not None
            said.add(writer.stdout.readline().strip())
        for writer in pair:
            writer.send_signal(signal.SIGKILL)
            rest, _ = writer.communicate(timeout=10)
            said.update(line for line in rest.splitlines(keepends=False) if line.count("-") == 1)
        said.discard("")  # of a writer that was killed before its first word
        assert said <= {run.id for run in REMEMBERED.runs()}
        assert is_whole(home)


def test_a_store_of_an_older_release_keeps_its_runs_and_gains_what_is_new(home: Path) -> None:
    run = stored_run()
    path = store_path()
    path.parent.mkdir(parents=True)
    with sqlite3.connect(path) as old:
        for statement in tables.MIGRATIONS[0]:
            old.execute(statement)
        old.execute(f"PRAGMA application_id = {tables.APPLICATION_ID}")
        old.execute("PRAGMA user_version = 1")
        old.execute(f"INSERT {tables.INTO_RUNS}", tables.row_of(run))
    old.close()
    assert REMEMBERED.trials_of("a") == ()
    REMEMBERED.append_trial(trial(1))
    assert REMEMBERED.runs() == (run,)
    assert home.exists()


def test_a_store_of_a_newer_release_is_refused_and_left_alone(home: Path) -> None:
    REMEMBERED.append(stored_run())
    with sqlite3.connect(home / "ullage" / "ullage.db") as database:
        database.execute("PRAGMA user_version = 99")
    for act in (REMEMBERED.runs, lambda: REMEMBERED.append(stored_run(2))):
        with pytest.raises(WorldError, match=r"newer release .*version 99.* upgrade"):
            act()
    with sqlite3.connect(home / "ullage" / "ullage.db") as database:
        assert database.execute("SELECT count(*) FROM runs").fetchone() == (1,)


@pytest.mark.parametrize("content", [b"no database at all, but long enough to be read as one" * 40, b"SQLite format 3\0" + bytes(5000)])
def test_a_file_that_is_no_store_is_refused(home: Path, content: bytes) -> None:
    path = home / "ullage" / "ullage.db"
    path.parent.mkdir()
    path.write_bytes(content)
    for act in (REMEMBERED.runs, lambda: REMEMBERED.append(stored_run())):
        with pytest.raises(WorldError, match=r"ullage\.db.*(move it away|XDG_STATE_HOME)"):
            act()
    assert path.read_bytes() == content


def test_a_database_of_another_program_is_refused(home: Path) -> None:
    (home / "ullage").mkdir()
    with sqlite3.connect(home / "ullage" / "ullage.db") as other:
        other.execute("CREATE TABLE theirs (x)")
    with pytest.raises(WorldError, match="another program"):
        REMEMBERED.append(stored_run())
    with pytest.raises(WorldError, match="another program"):
        REMEMBERED.runs()


def test_a_place_that_cannot_be_written_is_said_with_the_next_step(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "file").write_text("")
    for place in (home / "file", Path("/proc/no/such")):
        monkeypatch.setenv("XDG_STATE_HOME", str(place))
        with pytest.raises(WorldError, match=r"cannot be written: .* set XDG_STATE_HOME"):
            REMEMBERED.append(stored_run())


def test_a_state_home_that_is_no_directory_is_said_and_not_taken_for_an_empty_store(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "taken" / "ullage" / "ullage.db").mkdir(parents=True)
    for home in ("file", "taken"):
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / home))
        with pytest.raises(WorldError, match=r"the store .*ullage\.db cannot be read: .* set XDG_STATE_HOME"):
            real.RealStore().runs()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "none"))
    assert real.RealStore().runs() == ()


def test_a_relative_state_home_does_not_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "somewhere")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert store_path() == tmp_path / ".local" / "state" / "ullage" / "ullage.db"


def test_a_read_only_file_system_can_still_be_read(home: Path) -> None:
    """In a mount namespace of its own, where this user may make one."""
    REMEMBERED.append(stored_run())
    program = """
        from tests.runs import stored_run
        from ullage.errors import WorldError
        from ullage.world.real import RealStore
        print([run.id for run in real.RealStore().runs()])
        try:
            RealStore().append(stored_run(2))
        except WorldError as error:
            print(error)
    """
    line = f'mount --bind "{home}" "{home}" && mount -o remount,bind,ro "{home}" && exec "{sys.executable}" -c "$PROGRAM"'
    environment = {**os.environ, "XDG_STATE_HOME": str(home), "PYTHONPATH": str(ROOT), "PROGRAM": textwrap.dedent(program)}
    done = subprocess.run(["unshare", "-m", "sh", "-c", line], env=environment, capture_output=True, text=True, check=False)  # noqa: S607 - where it lies differs
    if done.returncode:
        pytest.skip(f"no mount namespaces here: {done.stderr.strip()[:80]}")
    first, second = done.stdout.splitlines()
    assert first == "['run-001']"
    assert "cannot be written" in second
    assert "XDG_STATE_HOME" in second


def test_an_export_is_read_back(tmp_path: Path) -> None:
    runs = (stored_run(1, seen=(seen(5),)), stored_run(2))
    path = tmp_path / "runs.json"
    path.write_text(REMEMBERED.as_export(runs))
    assert REMEMBERED.read_export(str(path)) == runs


@pytest.mark.parametrize("text", ["[]", "{}", '{"schema": "ullage.export/1"}', '{"schema": "ullage.export/1", "runs": [{}]}', "x"])
def test_a_file_that_is_no_export_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "runs.json"
    path.write_text(text)
    with pytest.raises(MalformedFileError):
        REMEMBERED.read_export(str(path))
    with pytest.raises(WorldError, match="cannot be read"):
        REMEMBERED.read_export(str(tmp_path / "none"))


def test_a_time_without_its_zone_is_refused() -> None:
    text = wire.dumps(wire.to_wire(stored_run())).replace("+00:00", "")
    with pytest.raises(MalformedFileError, match="started_at"):
        wire.from_wire(type(stored_run()), wire.loads(text))


def test_identities_differ_and_sort_by_time() -> None:
    assert len({store.new_id() for _ in range(50)}) == 50
    assert store.new_id() < "3"


def test_a_study_is_held_by_one_process_until_that_ends(home: Path) -> None:
    program = """
        import sys
        from ullage.world.real import RealStore
        RealStore().hold_study("mine")
        print("held", flush=True)
        sys.stdin.read()
    """
    other = start(home, program)
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    REMEMBERED.hold_study("another")
    with pytest.raises(WorldError, match=f"the study mine is being tuned by process {other.pid} since"):
        REMEMBERED.hold_study("mine")
    other.kill()
    other.communicate()
    REMEMBERED.hold_study("mine")
    REMEMBERED.hold_study("mine")


def test_a_file_system_that_locks_nothing_is_not_taken_for_another_process(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_handle: int, _how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(WorldError, match=rf"cannot be held: {home}.*No locks available"):
        REMEMBERED.hold_study("mine")
