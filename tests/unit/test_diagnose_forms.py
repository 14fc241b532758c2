"""One and the same log in every form that a log is handed on in, and what is to be said apart: opposite remedies, misleading advice."""

import bz2
import csv
import gzip
import http.server
import io
import lzma
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ullage import cli, engines, wire
from ullage.commands.diagnose import VERB, make_diagnosis
from ullage.domain.cause import Diagnosis, Family, Hint, Kind, Stage
from ullage.domain.ledger import Purpose
from ullage.world import real

DATA = Path(__file__).parent.parent / "data"
LOGS = DATA / "logs"
DEAD = "vllm_v1_sampler.log"
PLAIN = re.sub(r"^vllm-1  \| ", "", (LOGS / DEAD).read_text(encoding="utf-8"), flags=re.MULTILINE)
STAMP = "2026-11-21T08:11:02.000000001Z"
FORMS: dict[str, Callable[[int, str], str]] = {
    "plain": lambda _, line: line,
    "docker json": lambda _, line: wire.dumps({"log": line + "\n", "stream": "stderr", "time": STAMP}, indent=0).replace("\n", " "),
    "docker --timestamps": lambda _, line: f"{STAMP} {line}",
    "containerd": lambda _, line: f"{STAMP} stderr F {line}",
    "kubectl --prefix": lambda _, line: f"[pod/vllm-7d4b9c-x2x1z/server] {line}",
    "kubectl --prefix --timestamps": lambda _, line: f"[pod/vllm-7d4b9c-x2x1z/server] {STAMP} {line}",
    "journal": lambda _, line: f"Nov 21 08:11:02 box vllm[2211]: {line}",
    "journal with ISO stamps": lambda _, line: f"2026-11-21T08:11:02+0000 box vllm[2211]: {line}",
    "compose": lambda _, line: f"vllm-1  | {line}",
    "compose in colours": lambda _, line: f"\x1b[36mvllm-1  | \x1b[0m\x1b[31;1m{line}\x1b[0m",
    "Google Cloud": lambda _, line: f"INFO {STAMP} [resource.labels.containerName: vllm] {line}",
    "fields in JSON": lambda _, line: wire.dumps({"timestamp": STAMP, "fields": {"message": line}}, indent=0).replace("\n", " "),
    "colours written out": lambda _, line: f"^[[36m{line}^[[0m",
    "colours of a cloud": lambda _, line: f"#033[32m{line}#033[0m",
    "a launcher": lambda _, line: f"2026-05-08 11:50:14.753 [Info] (Process) {line}",
    "quoted": lambda _, line: f"> {line}",
    "carriage returns": lambda _, line: f"{line}\r",
}


def diagnosed(text: str, **options: object) -> Diagnosis:
    return make_diagnosis(VERB.flags({"offline": True, **options}), iter(text.splitlines(keepends=True)), real.world(offline=True))


def written(form: str) -> str:
    return "".join(f"{FORMS[form](number, line)}\n" for number, line in enumerate(PLAIN.splitlines()))


@pytest.mark.parametrize("form", FORMS)
def test_a_whole_log_says_the_same_whatever_wrapped_its_lines(form: str) -> None:
    found, plain = diagnosed(written(form)), diagnosed(PLAIN)
    assert (found.log.engine, found.log.version, found.model) == ("vllm", "0.10.2", "openai/gpt-oss-20b")
    assert [(cause.kind, cause.stage, cause.term) for cause in found.causes] == [(Kind.SAMPLER, Stage.SAMPLER, Purpose.LOGITS)]
    assert found.budget == plain.budget
    assert found.changes == plain.changes


@pytest.mark.parametrize(("name", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)])
def test_a_packed_log_is_diagnosed_by_the_command_as_the_plain_one(
    name: str, pack: Callable[[bytes], bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"log.{name}"
    path.write_bytes(pack(PLAIN.encode()))
    assert cli.main(("diagnose", str(path), "--offline")) == 1
    packed = capsys.readouterr().out
    (tmp_path / "log").write_text(PLAIN, encoding="utf-8")
    assert cli.main(("diagnose", str(tmp_path / "log"), "--offline")) == 1
    assert packed == capsys.readouterr().out


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_standard_input_is_read_packed_or_not(
    pack: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(pack(PLAIN.encode())), encoding="utf-8"))
    assert cli.main(("diagnose", "-", "--offline")) == 1
    assert "sampler" in capsys.readouterr().out.lower()


def test_ranks_that_write_at_once_are_each_read_alone() -> None:
    def rank(number: int, frame: str) -> list[str]:
        tag = f"(Worker_TP{number} pid={40 + number}) ERROR 09-20 08:12:30 [multiproc_executor.py:671]"
        file = '  File "/usr/lib/python3.12/site-packages/vllm/v1/worker/gpu_worker.py", line'
        return [
            f"{tag} Traceback (most recent call last):",
            f"{tag} {file} 233, in {frame}",
            f"{tag}     return func(*args, **kwargs)",
            f"{tag} torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU {number} has 1.00 GiB free.",
        ]

    woven = [line for lines in zip(rank(0, "load_model"), rank(1, "determine_available_memory"), strict=True) for line in lines]
    found = diagnosed("\n".join(woven))
    assert {(cause.kind, cause.stage) for cause in found.causes} == {(Kind.WEIGHTS, Stage.LOAD), (Kind.ACTIVATIONS, Stage.PROFILE)}


def test_every_line_of_evidence_is_the_line_of_that_number() -> None:
    found, lines = diagnosed(PLAIN), PLAIN.splitlines()
    assert found.causes
    for item in (item for cause in found.causes for item in cause.evidence):
        assert item.text[:60] in lines[item.line - 1]


@pytest.fixture
def metrics() -> Iterator[str]:
    """The address of a server whose cache is full."""
    page = (DATA / "metrics" / "vllm_0_32_cpu_full.prom").read_bytes()

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path in {"/metrics", "/health"} else 404)
            self.end_headers()
            self.wfile.write(page if self.path == "/metrics" else b"")

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_running_engine_is_asked_by_its_address(metrics: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = cli.main(("diagnose", metrics, "--engine", "vllm", "--json"))
    value = wire.loads(capsys.readouterr().out)
    assert isinstance(value, dict)
    assert (code, value["found"]) == (1, True)
    assert '"cache_pressure"' in wire.dumps(value["causes"])


def test_an_address_where_nobody_answers_is_no_cause(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(("diagnose", "http://127.0.0.1:9", "--engine", "vllm")) not in {0, 1}
    assert "its log" in capsys.readouterr().err


def test_a_running_process_is_read_by_its_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, says = tmp_path / "log", "import sys, time; print(sys.argv[1], flush=True); time.sleep(60)"
    with path.open("wb") as file:
        started = subprocess.Popen([sys.executable, "-c", says, "CUDA error: out of memory"], stdout=file, stderr=file)
    try:
        while not path.read_bytes():
            time.sleep(0.01)
        assert cli.main(("diagnose", "--pid", str(started.pid), "--offline", "--json")) == 1
        assert '"device_memory"' in capsys.readouterr().out
    finally:
        started.kill()
        started.wait()


# Causes of opposite families: what relieves one makes the other worse.
_TAKE_MORE = (Kind.CACHE_TOO_SMALL, Kind.NO_ROOM_FOR_CACHE)
_TAKE_LESS = (Kind.GRAPHS, Kind.SAMPLER, Kind.WORKSPACE, Kind.CACHE_ALLOCATION)
_SHARES = {"gpu_memory_utilization", "mem_fraction_static", "max_memory_percent"}


@pytest.mark.parametrize("name", sorted(engines.engines()))
def test_no_engine_is_told_the_same_way_for_opposite_failures(name: str) -> None:
    hints = engines.first_aid(name).hints

    def ways(kind: Kind) -> dict[str, set[bool]]:
        found: dict[str, set[bool]] = {}
        for hint in (hint for hint in hints if kind in hint.kinds and not isinstance(hint.value, bool | str)):
            found.setdefault(hint.setting, set()).add(hint.up)
        return found

    for kind in Kind:
        assert all(len(ups) == 1 for ups in ways(kind).values()), kind
    assert all(ups == {True} for kind in _TAKE_MORE for setting, ups in ways(kind).items() if setting in _SHARES)
    assert all(ups == {False} for kind in _TAKE_LESS for setting, ups in ways(kind).items() if setting in _SHARES)


@pytest.mark.parametrize("name", sorted(engines.engines()))
def test_what_is_told_of_is_a_setting_of_the_engine_or_said_to_be_none(name: str) -> None:
    engine = engines.engines()[name]
    known = {knob.name for knob in engine.profile.knobs}

    def is_known(hint: Hint) -> bool:
        is_variable = hint.setting.isupper()
        return is_variable or " " in hint.setting or bool({hint.setting, *hint.names} & known) or hint.setting in _OF_OTHERS

    assert [hint.setting for hint in engines.first_aid(name).hints if not is_known(hint)] == []


# Of the container, of the workload, or settings that reach the engine as they are written and change no plan of ours.
_OF_OTHERS = frozenset(
    [
        "shm-size",
        "build",
        "numactl",
        "tensor_parallel_size",
        "tp_size",
        "concurrency",
        "quantization",
        "context",
        "hicache_size",
        "limit_mm_per_prompt",
        "offload_folder",
        "low_cpu_mem_usage",
    ]
)
TOO_SMALL = """\
INFO 01-14 12:00:00 [worker.py:267] the current vLLM instance can use total_gpu_memory (23.69GiB) x gpu_memory_utilization (0.98) = 23.21GiB
ValueError: To serve at least one request with the models's max seq len (40960), (5.62 GiB KV cache is needed, which is larger than the \
available KV cache memory (3.18 GiB). Try increasing `gpu_memory_utilization` or decreasing `max_model_len` when initializing the engine.
"""
NEGATIVE = "[2025-07-02 07:41:59 TP0] max_total_tokens=131072 is larger than the profiled value -561981. Use the profiled value instead."
RETRIED = """\
sched_reserve: compute buffer allocation failed, retrying without pipeline parallelism
ggml_gallocr_reserve_n_impl: failed to allocate CUDA1 buffer of size 54262464512
"""
SIZES = """\
  File "/ktransformers/local_chat.py", line 80, in local_chat
RuntimeError: The size of tensor a (1536) must match the size of tensor b (5894) at non-singleton dimension 3
"""
FRAGMENTS = """\
  File "/transformers/modeling_utils.py", line 4455, in from_pretrained
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 3.00 GiB. GPU 0 has a total capacity of 15.99 GiB of which 1.00 GiB is free. \
Of the allocated memory 14.00 GiB is allocated by PyTorch, and 90.00 MiB is reserved by PyTorch but unallocated. \
If reserved but unallocated \
memory is large try setting PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid fragmentation.
"""


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        (TOO_SMALL, "gpu_memory_utilization"),
        (NEGATIVE, "profiled value"),
        (RETRIED, "pipeline parallelism"),
        ("ipex_llm: Native API failed. Native API returns: 20 (UR_RESULT_ERROR_DEVICE_LOST)", "DEVICE_LOST"),
        (SIZES, "size of tensor"),
        (FRAGMENTS, "PYTORCH_CUDA_ALLOC_CONF"),
    ],
)
def test_advice_that_would_not_have_helped_is_called_misleading(text: str, advice: str) -> None:
    assert any(advice in item.text for item in diagnosed(text).misleading)


def test_advice_that_helps_is_not_called_misleading() -> None:
    assert not diagnosed(FRAGMENTS.replace("and 90.00 MiB is reserved", "and 4.00 GiB is reserved")).misleading


def test_a_card_that_is_not_the_first_may_hand_layers_to_the_others_and_one_alone_may_not() -> None:
    line = "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 9866.00 MiB on device {}: cudaMalloc failed: out of memory"
    settings = [[change.setting for change in diagnosed(line.format(number)).changes] for number in (0, 1)]
    assert ["tensor_split" in told for told in settings] == [False, True]


def test_a_block_that_fails_on_an_intel_card_with_room_is_over_its_limit() -> None:
    text = "ggml-sycl: error 39 UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY, Error OP MUL_MAT with 27GB free"
    found = diagnosed(text)
    assert found.causes[0].kind is Kind.ONE_BLOCK
    assert "UR_L0_ENABLE_RELAXED_ALLOCATION_LIMITS" in {change.setting for change in found.changes[:3]}
    assert diagnosed(text.replace("27GB", "2GB")).causes[0].family is Family.DEVICE


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("Fatal Python error: Illegal instruction", Kind.ILLEGAL_INSTRUCTION),
        ("ImportError: libcudart.so.12: cannot open shared object file: No such file or directory", Kind.MISSING_LIBRARY),
        ("ModuleNotFoundError: No module named 'vllm._C'", Kind.WRONG_MODULE),
        ("Native API failed. Native API returns: 20 (UR_RESULT_ERROR_DEVICE_LOST)", Kind.DEVICE_LOST),
        ("RuntimeError: Found no NVIDIA driver on your system.", Kind.DRIVER),
        ("AttributeError: 'NoneType' object has no attribute 'cpu'", Kind.BUG),
        ("torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:2395, remote process exited", Kind.NETWORK),
    ],
)
def test_what_is_no_want_of_memory_is_said_to_be_none(line: str, kind: Kind) -> None:
    found = diagnosed(line)
    assert [(cause.kind, cause.family) for cause in found.causes] == [(kind, Family.NOT_MEMORY)]
    assert found.causes[0].summary.startswith("not memory")
    shares = {"gpu_memory_utilization", "mem_fraction_static", "max_model_len", "ctx_size"}
    assert not shares & {change.setting for change in found.changes}


def test_the_logs_that_are_kept_show_every_phase() -> None:
    with (LOGS / "INDEX.csv").open(encoding="utf-8", newline="") as file:
        phases = {row["phase"] for row in csv.DictReader(file)}
    assert phases >= {stage.value for stage in Stage} - {"unknown"}


def test_programs_get_facts_with_lines_the_budget_the_phase_ranked_causes_and_changes(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(("diagnose", str(LOGS / DEAD), "--offline", "--json")) == 1
    value = wire.loads(capsys.readouterr().out)
    assert isinstance(value, dict)
    assert (value["schema"], value["phase"], value["engine"]) == ("ullage.diagnosis/1", "sampler_warm_up", "vllm")
    facts, causes, changes, budget = value["facts"], value["causes"], value["changes"], value["budget"]
    assert isinstance(facts, list)
    assert isinstance(causes, list)
    assert isinstance(changes, list)
    assert isinstance(budget, dict)
    assert all(isinstance(fact, dict) and isinstance(fact["line"], int) for fact in facts)
    assert [cause["term"] for cause in causes if isinstance(cause, dict)] == ["logits"]
    terms = budget["terms"]
    assert isinstance(terms, list)
    assert [term["purpose"] for term in terms if isinstance(term, dict) and term["overflowed"]] == ["logits"]
    assert {"gpu_memory_utilization", "max_num_seqs"} <= {change["setting"] for change in changes if isinstance(change, dict)}
    assert value["misleading"]


@pytest.mark.parametrize(
    "line",
    [
        "INFO 11-21 08:00:00 [logger.py:43] Received request chatcmpl-1: prompt: 'Why {}?', params: SamplingParams(n=1)",
        "[2026-11-21 08:00:00] Receive: obj=GenerateReqInput(text='Why {}?', sampling_params={{}})",
        "[2026-11-21 08:00:00] Finish: obj=GenerateReqInput(text='hi'), out={{'text': '{}'}}",
    ],
)
def test_what_somebody_asked_an_engine_is_no_evidence_of_its_death(line: str) -> None:
    said = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"
    assert diagnosed(f"{PLAIN.splitlines()[0]}\n{said}\n").causes
    assert not diagnosed(f"{PLAIN.splitlines()[0]}\n{line.format(said)}\n").causes
