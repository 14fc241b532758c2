import pytest

from ullage.domain.facts import Fact
from ullage.domain.plan import Command, Limit
from ullage.domain.supervision import Exited, Kind, Launch, Policy, Run
from ullage.engines import engines
from ullage.planning.failure import judge
from ullage.planning.supervise import begin
from ullage.report.document import Table
from ullage.report.serve_document import served_document


def exited(code: int | None = 1, *tail: str, signal: int | None = None, killed: bool = False) -> Exited:
    return Exited(at=1.0, code=None if signal else code, signal=signal, log=tail, killed_for_memory=killed)


@pytest.mark.parametrize(
    ("event", "word"),
    [
        (exited(2, "vllm serve: error: unrecognized arguments: --max-modle-len 5"), "flag"),
        (exited(1, "error: invalid argument: --foo"), "flag"),
        (exited(1, "OSError: [Errno 98] Address already in use"), "port"),
        (exited(1, "start: couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 8080"), "port"),
        (exited(1, "gguf_init_from_file: failed to open GGUF file 'x.gguf' (No such file or directory)"), "model is not there"),
        (exited(1, "ModuleNotFoundError: No module named 'vllm._C'"), "not installed"),
        (exited(1, "RuntimeError: No CUDA GPUs are available"), "no device"),
        (exited(132), "another processor"),
        (exited(signal=4), "another processor"),
        (exited(127), "no such program"),
        (exited(127, "cannot allocate memory for thread-local data: ABORT"), "hold its libraries"),
        (exited(0, "usage: serve"), "before it answered"),
    ],
)
def test_what_cannot_succeed_is_known_by_its_words(event: Exited, word: str) -> None:
    found = judge(event, (), was_ready=False)
    assert found.kind is Kind.HOPELESS
    assert word in found.reason


@pytest.mark.parametrize(
    ("engine", "line", "limit"),
    [
        (
            "vllm",
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.1 GiB",
            "workspace",
        ),
        ("vllm", "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`", "cache"),
        ("vllm", "RuntimeError: DefaultCPUAllocator: can't allocate memory: you tried to allocate 1073741824 bytes.", "host"),
        ("llama_cpp", "ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 1073741824", "weights"),
        ("llama_cpp", "allocating 900.00 MiB on device 0: cudaMalloc failed: out of memory", "workspace"),
        ("llama_cpp", "llama_init_from_model: failed to allocate buffer for kv cache", "weights"),
        ("sglang", "RuntimeError: Prefill out of memory. Try to lower your batch size.", "cache"),  # it is the pool that is full
        ("sglang", "max_total_tokens=131072 is larger than the profiled value -561981. Use the profiled value instead.", "cache"),
        ("exllamav2", "RuntimeError: Insufficient VRAM for model and cache", "weights"),
    ],
)
def test_lines_of_real_engines_about_memory_say_what_ran_out(engine: str, line: str, limit: str) -> None:
    fact = engines()[engine].read_log_line(line)
    assert fact is not None
    found = judge(exited(1, line), (fact,), was_ready=False)
    assert (found.kind, found.limit) == (Kind.OUT_OF_MEMORY, Limit(limit))


def test_what_a_request_was_refused_for_is_no_reason_of_an_exit() -> None:
    fact = Fact(name="error.prompt_too_long", value=9000)
    assert judge(exited(3), (fact,), was_ready=True).kind is Kind.CRASHED


def test_a_kill_by_the_kernel_is_out_of_host_memory_and_another_is_not() -> None:
    assert judge(exited(signal=9, killed=True), (), was_ready=True).kind is Kind.OUT_OF_MEMORY
    found = judge(exited(signal=9), (), was_ready=True)
    assert (found.kind, found.reason) == (Kind.CRASHED, "killed by signal 9")


@pytest.mark.parametrize("event", [exited(1, "KeyError: 'x'", killed=True), exited(signal=11, killed=True), exited(70, killed=True)])
def test_who_was_not_killed_was_not_killed_by_the_kernel(event: Exited) -> None:
    found = judge(event, (), was_ready=True)
    assert (found.kind, found.limit) == (Kind.CRASHED, None)


@pytest.mark.parametrize("event", [exited(137), exited(1, "Engine core proc died, exit code: -9"), exited(1, "worker 3 got SIGKILL")])
def test_a_shell_and_a_front_tell_of_a_kill_in_their_own_words(event: Exited) -> None:
    killed = Exited(at=event.at, code=event.code, log=event.log, killed_for_memory=True)
    assert [judge(one, (), was_ready=True).kind for one in (killed, event)] == [Kind.OUT_OF_MEMORY, Kind.CRASHED]


def test_its_own_words_about_memory_come_before_a_kill() -> None:
    line = "RuntimeError: out of memory in the cache"
    assert judge(exited(None, line, signal=9, killed=True), (), was_ready=True).reason == line


def test_an_engine_that_ended_in_order_was_stopped_by_somebody() -> None:
    assert judge(exited(0), (), was_ready=True).kind is Kind.STOPPED
    assert judge(exited(signal=15), (), was_ready=True).kind is Kind.STOPPED


def test_a_front_that_ends_in_order_after_its_engine_died_has_crashed() -> None:
    fact = Fact(name="wrapper", value="EngineCore encountered a fatal error.")
    assert judge(exited(0), (fact,), was_ready=True).kind is Kind.CRASHED
    assert judge(exited(signal=15), (fact,), was_ready=True).kind is Kind.STOPPED


def test_two_failures_that_differ_in_numbers_alone_are_the_same() -> None:
    one, other = (judge(exited(1, f"RuntimeError: rank 0 at 0x{at}"), (), was_ready=False) for at in (123, 456))
    assert one.mark == other.mark


def test_an_abort_may_be_helped_by_a_setting_once_it_has_begun_to_load_and_never_before() -> None:
    abort = Fact(name="error.process_memory", value="terminate called after throwing an instance of 'std::bad_alloc")
    assert judge(exited(signal=6), (abort,), was_ready=False).kind is Kind.HOPELESS
    found = judge(exited(signal=6), (Fact(name="loading", value="model"), abort), was_ready=False)
    assert (found.kind, found.limit) == (Kind.OUT_OF_MEMORY, Limit.HOST)


def test_host_memory_that_ran_out_is_told_in_words_with_what_it_was_for() -> None:
    line = "ullage.runtime: error: out of memory while reserving the cache of 16 sequences of 8192 tokens: MemoryError"
    fact = engines()["runtime"].read_log_line(line)
    assert fact is not None
    assert judge(exited(1, line), (fact,), was_ready=False).reason == "host memory ran out (kv cache allocation)"


def test_the_table_of_runs_names_what_was_changed_for_each() -> None:
    commands = [Command(argv=("python", "-m", "x", "--max-len", "8192", "--max-seqs", count)) for count in ("16", "8", "8")]
    commands.append(Command(argv=(*commands[-1].argv, "--kv-dtype", "int8")))
    runs = tuple(
        Run(launch=Launch(command=one), started_at=0.0, ended_at=1.0, ready_seconds=None, kind=Kind.OUT_OF_MEMORY, reason="")
        for one in commands
    )
    state, _ = begin(Launch(command=commands[0]), Policy(), 0.0)
    (table,) = (block for block in served_document(state, runs) if isinstance(block, Table))
    assert [row[3] for row in table.rows] == ["as planned", "--max-seqs 8", "the same", "--kv-dtype int8"]
    assert {row[4] for row in table.rows} == {"out of memory"}


def test_what_was_written_long_before_the_end_is_no_reason_of_it() -> None:
    refusal, later = "OSError: [Errno 98] Address already in use", ["loading"] * 40
    assert judge(exited(1, *later[1:], refusal), (), was_ready=False).kind is Kind.HOPELESS
    assert judge(exited(1, refusal, *later), (), was_ready=False).kind is Kind.CRASHED
