"""What is said of whole logs, of their prefixes, and of lines that are no death."""

import bz2
import csv
import gzip
import lzma
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

import ullage
from ullage import cli, engines
from ullage.catalog.torch_messages import out_of_memory
from ullage.commands.diagnose import VERB, make_diagnosis, run
from ullage.domain.cause import Diagnosis, Family, Kind, Stage
from ullage.domain.facts import Fact
from ullage.domain.ledger import Purpose
from ullage.domain.plan import Verdict
from ullage.domain.reading import EngineReading, HostReading, Page, ProcessMemory
from ullage.errors import InputError, WorldError
from ullage.planning.diagnose import diagnose
from ullage.planning.diagnose_command import arguments_of, command_of
from ullage.planning.diagnose_lines import bare, pieces_of
from ullage.planning.diagnose_live import log_of
from ullage.report.as_text import Look, plain_text
from ullage.units import GiB, MiB
from ullage.world import logs, real

LOGS = Path(__file__).parent.parent / "data" / "logs"
with (LOGS / "INDEX.csv").open(encoding="utf-8", newline="") as file:
    EXPECTED = tuple(csv.DictReader(file))
NOT_FREE = (
    "ValueError: Free memory on device cuda:1 (60.85/79.19 GiB) on startup is less than desired GPU memory utilization (0.95, 75.23 GiB)."
)


def diagnosed(text: str, **options: object) -> Diagnosis:
    flags = VERB.flags({"offline": True, **options})
    return make_diagnosis(flags, iter(text.splitlines(keepends=True)), real.world(offline=True))


def of_file(name: str, **options: object) -> Diagnosis:
    return diagnosed((LOGS / name).read_text(encoding="utf-8"), **options)


@pytest.mark.parametrize("row", EXPECTED, ids=[row["file"] for row in EXPECTED])
def test_a_whole_log_is_diagnosed(row: dict[str, str]) -> None:
    found = of_file(row["file"])
    first = found.causes[0] if found.causes else None
    assert (found.log.engine or "", found.log.version or "") == (row["engine"], row["version"])
    assert (first.kind.value if first else "") == row["kind"]
    assert found.stage.value == row["phase"]
    assert (first.term.value if first and first.term else "") == row["term"]
    if row["change"]:
        assert found.changes[0].setting == row["change"]


class TestBudget:
    def test_terms_hold_what_the_log_measured_in_place_of_what_we_predict(self) -> None:
        found = of_file("vllm_v1_sampler.log")
        assert found.model == "openai/gpt-oss-20b"
        assert found.budget is not None
        assert found.budget.total_bytes == pytest.approx(79.19 * GiB, abs=2)
        assert found.budget.limit_bytes == pytest.approx(79.19 * GiB * 0.95, abs=2)
        terms = {term.purpose: term for term in found.budget.terms}
        weights = terms[Purpose.WEIGHTS]
        assert weights.measured == round(13.64 * GiB)
        assert weights.line == 5
        assert weights.predicted is not None
        assert weights.predicted.low <= round(13.65 * GiB)
        assert [term.purpose for term in found.budget.terms if term.overflowed] == [Purpose.LOGITS]

    def test_tokens_that_were_missing_are_said_in_bytes(self) -> None:
        found = of_file("vllm_v0_cache_too_small.log", gpu="24GiB", total_memory="23.69GiB")
        assert found.causes[0].lacking_bytes == pytest.approx((32768 - 7344) * 512 * 1024, rel=0.01)

    def test_what_was_missing_is_what_was_asked_for_less_what_was_free(self) -> None:
        assert of_file("vllm_v1_under_load.log").causes[0].lacking_bytes == 150 * MiB - int(62.81 * MiB)

    def test_a_process_whose_size_leaves_no_room_for_the_engine_beside_it_is_the_engine(self) -> None:
        found = of_file("vllm_v1_under_load.log")
        assert found.budget is not None
        assert "others hold" not in found.causes[0].evidence[0].says
        assert all(term.measured is None for term in found.budget.terms if term.purpose is Purpose.OTHERS)

    @pytest.mark.parametrize(
        ("listed", "own", "others"),
        [
            ("Process 7 has 23.00 GiB memory in use.", 23.0, None),
            ("Process 7 has 13.00 GiB memory in use. Process 8 has 10.00 GiB memory in use.", 10.0, 13.0),
            ("Process 7 has 13.00 GiB memory in use.", None, 13.0),
            ("Process 7 has 13.00 GiB memory in use. Including non-PyTorch memory, this process has 10.00 GiB memory in use.", 10.0, 13.0),
        ],
    )
    def test_whose_memory_is_told_by_arithmetic(self, listed: str, own: float | None, others: float | None) -> None:
        said = (
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.00 GiB. GPU 0 has a total capacity of 24.00 GiB of which "
            f"512.00 MiB is free. {listed} Of the allocated memory 9.00 GiB is allocated by PyTorch, and 64.00 MiB is reserved by PyTorch "
            "but unallocated."
        )
        for read in (out_of_memory, engines.find("vllm").read_log_line):
            fact = read(said)
            assert fact is not None
            told = dict(fact.details)
            assert told.get("in_use_bytes") == (None if own is None else own * GiB)
            assert told.get("others_bytes") == (None if others is None else others * GiB)

    def test_without_a_case_the_log_alone_makes_the_budget(self) -> None:
        found = of_file("llama_cpp_compute.log")
        assert found.budget is not None
        assert {term.purpose: term.measured for term in found.budget.terms}[Purpose.KV_CACHE] == 4352 * MiB


class TestChanges:
    def test_a_cache_that_is_too_small_is_never_told_to_take_a_smaller_share(self) -> None:
        for change in of_file("vllm_v0_cache_too_small.log", gpu="24GiB").changes:
            assert change.setting != "gpu_memory_utilization" or change.up

    def test_a_step_that_overflows_the_share_is_never_told_to_raise_it(self) -> None:
        changes = of_file("vllm_v1_under_load.log").changes
        assert changes
        for change in changes:
            assert change.setting != "gpu_memory_utilization" or not change.up

    def test_a_change_that_is_planned_leads_to_a_case_that_fits(self) -> None:
        found = of_file("vllm_v0_cache_too_small.log", gpu="24GiB", total_memory="23.69GiB")
        first = found.changes[0]
        assert first.setting == "max_model_len"
        assert first.verdict in {Verdict.FITS, Verdict.TIGHT}
        assert isinstance(first.value, int)
        assert 7344 < first.value < 32768

    def test_a_share_that_can_never_reach_is_not_the_first_thing_to_try(self) -> None:
        found = of_file("vllm_v0_cache_too_small.log", gpu="24GiB", total_memory="23.69GiB")
        share = next(change for change in found.changes if change.setting == "gpu_memory_utilization")
        assert share.verdict is Verdict.DOES_NOT_FIT
        assert found.changes.index(share) > 0


class TestWords:
    def test_advice_about_fragments_is_called_misleading_where_there_are_few(self) -> None:
        (said,) = of_file("vllm_v1_sampler.log").misleading
        assert "96.4 MiB at most" in said.says

    def test_the_talk_of_a_shutdown_is_no_failure(self) -> None:
        found = of_file("shutdown.log")
        assert not found.found
        assert found.stage is Stage.SHUTDOWN
        assert len(found.noise) == 3

    def test_a_worker_killed_by_the_kernel_is_out_of_host_memory(self) -> None:
        assert diagnosed("vllm-1 exited with code 137\n").causes[0].family is Family.HOST

    def test_a_worker_ended_because_another_ran_out_of_device_memory_is_not_the_cause(self) -> None:
        text = (
            LOGS / "vllm_v1_under_load.log"
        ).read_text() + "Worker proc VllmWorker-1 died unexpectedly (exit code: -9), shutting down.\n"
        assert [cause.kind for cause in diagnosed(text).causes] == [Kind.WORKSPACE, Kind.HOST]

    @pytest.mark.parametrize(
        ("line", "kind"),
        [
            (
                "HIP out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.98 GiB of which 1.00 GiB is free.",
                Family.DEVICE,
            ),
            (
                "MPS backend out of memory (MPS allocated: 17.19 GB, max allowed: 18.13 GB). Tried to allocate 1.50 GB on pool.",
                Family.DEVICE,
            ),
            ("command buffer 0 failed: Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)", Family.DEVICE),
            ("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8589934592 bytes. Error code 12", Family.HOST),
            ("MemoryError", Family.HOST),
            ("terminate called after throwing an instance of 'std::bad_alloc'", Family.HOST),
            ("Last State: Terminated  Reason: OOMKilled  Exit Code: 137", Family.HOST),
            ("DataLoader worker is killed by signal: Bus error. It is possible that shared memory is not enough", Family.HOST),
            ("Fatal Python error: Illegal instruction", Family.NOT_MEMORY),
            ("ImportError: libcudart.so.12: cannot open shared object file: No such file or directory", Family.NOT_MEMORY),
            ("Native API failed. Native API returns: 20 (UR_RESULT_ERROR_DEVICE_LOST)", Family.NOT_MEMORY),
            ("Native API failed. Native API returns: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)", Family.DEVICE),
            ("RuntimeError: CUDA error: an illegal memory access was encountered", Family.NOT_MEMORY),
            ("Current platform can NOT allocate memory block with size larger than 4GB! Tried to allocate 40.00 GiB", Family.ONE_BLOCK),
            (NOT_FREE, Family.OTHERS),
        ],
    )
    def test_one_line_tells_the_class(self, line: str, kind: Family) -> None:
        assert diagnosed(line).causes[0].family is kind

    def test_a_sentence_that_a_terminal_cut_is_read_whole(self) -> None:
        found = of_file("transformers_weights.log")
        assert found.budget is not None
        assert found.budget.total_bytes == int(15.99 * GiB)


class TestLines:
    @pytest.mark.parametrize(
        ("line", "text", "rank"),
        [
            ("vllm-1  | \x1b[32mINFO\x1b[0m 01-14 12:36:51 [core.py:58] hello", "hello", "vllm-1"),
            (
                '{"log":"(EngineCore_DP0 pid=7) INFO 01-14 12:36:51 [core.py:58] hello\\n","stream":"stderr"}',
                "hello",
                "EngineCore_DP0 pid=7",
            ),
            ("2026-11-01T09:00:00.000000001Z stderr F hello", "hello", ""),
            ("Nov 21 16:49:00 box vllm[2211]: hello", "hello", ""),
            ("[pod/vllm-0/server] hello", "hello", "pod/vllm-0/server"),
            ("[rank3]: hello", "hello", "rank3"),
            ("[2025-09-01 10:00:50 TP0] hello", "hello", "TP0"),
            ("(VllmWorker rank=1 pid=11) hello", "hello", "VllmWorker rank=1 pid=11"),
        ],
    )
    def test_what_containers_collectors_and_ranks_write_before_a_line_is_taken_off(self, line: str, text: str, rank: str) -> None:
        (found,) = pieces_of(1, line + "\n")
        assert (found.text, found.rank) == (text, rank)

    def test_a_progress_bar_is_one_line_of_the_file(self) -> None:
        assert [(line.number, line.text) for line in pieces_of(7, "a\rb\rc\n")] == [(7, "a"), (7, "b"), (7, "c")]

    def test_a_long_tag_without_an_end_is_read_in_no_time(self) -> None:
        assert bare("(" + "a b " * 2000)[1] == ""

    def test_tracebacks_of_interleaved_ranks_are_kept_apart(self) -> None:
        lines = (
            "(Worker_TP0 pid=1) Traceback (most recent call last):",
            "(Worker_TP1 pid=2) Traceback (most recent call last):",
            '(Worker_TP0 pid=1)   File "a.py", line 1, in load_model',
            '(Worker_TP1 pid=2)   File "a.py", line 1, in capture_model',
            "(Worker_TP0 pid=1) torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
        )
        assert diagnosed("\n".join(lines)).causes[0].stage is Stage.LOAD


class TestCommand:
    @pytest.mark.parametrize(
        ("line", "first"),
        [
            ("$ VLLM_USE_V1=0 vllm serve Qwen/Qwen3-8B --max-model-len 4096 2>&1 | tee x", ("VLLM_USE_V1=0", "vllm", "serve")),
            ("+ exec python3 -m sglang.launch_server --model-path m", ("python3", "-m", "sglang.launch_server")),
            ("numactl -N 1 -m 1 python ktransformers/local_chat.py --cpu_infer 30", ("python", "ktransformers/local_chat.py")),
            ("./build/bin/llama-server -m model.gguf -c 8192", ("./build/bin/llama-server", "-m", "model.gguf")),
        ],
    )
    def test_a_command_in_a_log_is_found(self, line: str, first: tuple[str, ...]) -> None:
        found = command_of(line)
        assert found is not None
        assert found[: len(first)] == first
        assert "tee" not in found

    @pytest.mark.parametrize(
        ("line", "found"),
        [
            ("I ran `vllm serve Qwen/Qwen3-8B --max-model-len 4096` and it died", "vllm serve Qwen/Qwen3-8B --max-model-len 4096"),
            ("vllm serve Qwen/Qwen3-8B   # the same for your own command; more", "vllm serve Qwen/Qwen3-8B"),
            ("`python -m ullage.runtime MODEL` serves directories and GGUF files", None),
        ],
    )
    def test_prose_around_a_command_is_no_part_of_it(self, line: str, found: str | None) -> None:
        assert command_of(line) == (tuple(found.split()) if found is not None else None)

    def test_settings_printed_as_python_are_read(self) -> None:
        assert arguments_of("model='a/b', tp=2, x=None, on=True, u=0.9") == {"model": "a/b", "tp": "2", "on": "True", "u": "0.9"}

    def test_the_command_in_the_log_becomes_the_case(self) -> None:
        found = of_file("vllm_v0_cache_too_small.log", gpu="24GiB")
        assert found.model == "Qwen/Qwen1.5-7B-Chat"
        assert found.command[:3] == ("python", "-m", "vllm.entrypoints.openai.api_server")


class TestFiles:
    @pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
    def test_a_packed_log_is_read_as_the_plain_one(self, tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
        path = tmp_path / "log"
        path.write_bytes(pack(b"one\ntwo\n"))
        assert list(logs.lines(str(path))) == ["one\n", "two\n"]

    def test_a_packed_log_that_was_cut_gives_what_there_is(self, tmp_path: Path) -> None:
        path = tmp_path / "log.gz"
        path.write_bytes(gzip.compress(b"line\n" * 100_000)[:-20])
        assert next(iter(logs.lines(str(path)))) == "line\n"
        assert sum(1 for _ in logs.lines(str(path))) > 1000

    def test_wide_characters_are_read(self, tmp_path: Path) -> None:
        path = tmp_path / "log"
        path.write_bytes("Killed\nb\n".encode("utf-16"))
        assert list(logs.lines(str(path))) == ["Killed\n", "b\n"]

    def test_a_line_without_an_end_is_read_in_a_bounded_space(self, tmp_path: Path) -> None:
        path = tmp_path / "log"
        path.write_text("x" * 3_000_000 + "Killed\nb\n")
        first, second = logs.lines(str(path))
        assert len(first) < 100_000
        assert first.endswith("Killed\n")
        assert second == "b\n"

    def test_what_is_no_text_is_refused_and_a_log_emptied_while_it_was_written_is_read(self, tmp_path: Path) -> None:
        path = tmp_path / "log"
        path.write_bytes(b"GGUF\x03\0\0\0" + b"\xff\0\n" * 10_000)
        with pytest.raises(InputError, match="is no text"):
            list(logs.lines(str(path)))
        path.write_bytes(b"\0" * 40 + b"Killed\n")
        assert [line.lstrip("\0") for line in logs.lines(str(path))] == ["Killed\n"]

    @pytest.mark.parametrize("text", ["", "\n \n"])
    def test_an_empty_log_is_refused(self, tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
        path = tmp_path / "log"
        path.write_text(text)
        assert cli.main(("diagnose", str(path))) == 2
        assert f"{path} is empty" in capsys.readouterr().err

    def test_a_text_of_which_no_line_is_an_engines_is_called_so(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = tmp_path / "text"
        path.write_text("root:x:0:0:root:/root:/bin/bash\n")
        assert cli.main(("diagnose", str(path))) == 2
        said = " ".join(capsys.readouterr().out.split())
        assert "NO LOG this does not look like the log of an engine: 1 line" in said
        assert "none is a command that starts an engine: give what it wrote, `COMMAND 2>&1 | tee LOG`" in said
        assert "vllm" not in said

    def test_prose_about_deaths_is_no_log_and_the_same_with_one_line_that_a_program_wrote_is(self, tmp_path: Path) -> None:
        prose = "\n".join(
            f"# Chapter {'i' * number}\n\nWhen vllm runs out of memory, as some of {'many' * number} cards do, its process is killed by "
            "the container and says so.\nThen SGLang and llama.cpp take less memory than what their documents tell."
            for number in range(30)
        )
        path = tmp_path / "README.md"
        path.write_text(prose)
        assert cli.main(("diagnose", str(path))) == 2
        assert cli.main(("diagnose", str(path), "--json")) == 2
        path.write_text(f"{prose}\n\nvllm serve Qwen/Qwen3-8B\n")
        assert cli.main(("diagnose", str(path), "--offline")) != 2
        for line in ("Killed", "ERROR 11-21 08:00:00 [core.py:1] x", "CUDA out of memory. Tried to allocate 2.00 GiB"):
            path.write_text(f"{prose}\n\n{line}\n")
            assert cli.main(("diagnose", str(path), "--offline")) == 1, line
        path.write_text(prose.split("\n\n")[1])  # what somebody says in a few words is a report
        assert cli.main(("diagnose", str(path), "--offline")) == 1

    def test_what_is_not_there_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(WorldError, match="cannot be read"):
            logs.lines(str(tmp_path / "none"))
        with pytest.raises(InputError, match="directory"):
            logs.lines(str(tmp_path))


WAITS = "import time; print('Killed', flush=True); time.sleep(60)"


class TestRunning:
    def test_a_full_pool_with_requests_waiting_is_pressure(self) -> None:
        facts = (Fact(name="kv_cache_usage", value=0.99), Fact(name="requests_waiting", value=3.0), Fact(name="preemptions", value=0.0))
        found = diagnose(log_of(EngineReading(at=0.0, url="x", engine="vllm", healthy=True, facts=facts)))
        assert [cause.kind for cause in found.causes] == [Kind.CACHE_PRESSURE]

    def test_an_idle_engine_has_nothing(self) -> None:
        facts = (Fact(name="kv_cache_usage", value=0.1), Fact(name="requests_waiting", value=0.0), Fact(name="preemptions", value=0.0))
        assert not diagnose(log_of(EngineReading(at=0.0, url="x", engine="vllm", healthy=True, facts=facts))).found

    def test_a_process_is_read_by_its_command_and_the_file_it_writes_to(self, tmp_path: Path) -> None:
        path = tmp_path / "log"
        with path.open("wb") as file:
            started = subprocess.Popen([sys.executable, "-c", WAITS], stdout=file, stderr=file)
        try:
            while not path.read_bytes():
                time.sleep(0.01)
            argv, lines = logs.process(started.pid)
            assert argv[1] == "-c"
            assert list(lines) == ["Killed\n"]
        finally:
            started.kill()
            started.wait()

    def test_of_a_process_that_is_no_engine_the_engine_below_it_is_read(self) -> None:
        words = {7: ("python", "/bin/ullage", "serve", "m"), 8: ("python", "keeper.py"), 9: ("vllm", "serve", "Qwen/Qwen3-8B")}
        told = {7: ["Killed\n"], 8: [], 9: []}
        meters = SimpleNamespace(
            now=lambda: 0.0,
            host=lambda at, pid: HostReading(at=at, processes=tuple(ProcessMemory(pid=one, parent=pid, name="x") for one in words)),
        )
        world = real.world(offline=True)._replace(
            meters=meters,
            logs=SimpleNamespace(process=lambda pid: (words[pid], iter(told[pid]))),
        )
        answer = run(VERB.flags({"pid": 7, "json": True, "offline": True}), world)
        assert isinstance(answer.json, dict)
        assert (answer.exit_code, answer.json["engine"], answer.json["command"]) == (1, "vllm", list(words[9]))

    @pytest.mark.parametrize("metrics", ["vllm:num_requests_running 0.0\nvllm:num_requests_waiting 0.0\n", ""])
    def test_of_a_healthy_engine_it_is_said_first_that_it_is(self, metrics: str) -> None:
        pages = {"/health": "", "/metrics": metrics, "/v1/models": '{"data": [{"id": "Qwen/Qwen3-8B"}]}'}
        meters = SimpleNamespace(
            now=lambda: 0.0, listener=lambda _url: None, page=lambda url, _key="": Page(200, pages[url.removeprefix("http://box:1")])
        )
        world = real.world(offline=True)._replace(meters=meters)
        answer = run(VERB.flags({"log": "http://box:1", "offline": True}), world)
        assert answer.exit_code == 0
        assert answer.document is not None
        text = plain_text(answer.document, Look(width=120, is_ascii=False))
        assert text.startswith("HEALTHY  http://box:1 answers")
        assert "Qwen/Qwen3-8B" in text
        assert "lines" not in text
        assert "names the model" not in text

    def test_a_process_that_is_not_there_is_said(self) -> None:
        with pytest.raises(WorldError, match="no process"):
            logs.process(2**22 + 1)


class TestVerb:
    def test_a_cause_is_exit_code_1_and_none_is_0(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(("diagnose", str(LOGS / "host_killed.log"), "--offline")) == 1
        assert "OUT OF HOST MEMORY" in capsys.readouterr().out
        assert cli.main(("diagnose", str(LOGS / "shutdown.log"), "--json")) == 0
        assert '"found": false' in capsys.readouterr().out

    def test_the_same_is_a_function(self) -> None:
        assert ullage.diagnose(NOT_FREE).causes[0].kind is Kind.DEVICE_NOT_FREE

    def test_an_engine_that_is_not_known_is_refused(self) -> None:
        with pytest.raises(InputError):
            diagnosed("x", engine="nothing_like_it")
