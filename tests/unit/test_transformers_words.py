"""What Transformers is told and what it says: settings, commands, log lines."""

import ast

import pytest

import ullage
from ullage.architectures import read
from ullage.domain.case import Case, Model, Settings, Value
from ullage.domain.hyperparameters import Hyperparameters, Json
from ullage.domain.machine import Device, Machine
from ullage.domain.placement import Parallel
from ullage.domain.workload import Workload
from ullage.engines import find
from ullage.engines.transformers.versions import version
from ullage.errors import InputError
from ullage.formats import checkpoint
from ullage.units import GiB, MiB

ENGINE = find("transformers")
CONFIG: dict[str, Json] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 8192,
    "torch_dtype": "bfloat16",
}


def model() -> Model:
    blueprint = read(Hyperparameters(CONFIG))
    return Model(name="org/m", source="", architecture=blueprint.architecture, checkpoint=checkpoint(blueprint, None), parameters=1)


MODEL = model()


def case(*, release: str = "5.23.0", devices: int = 1, size: int = 80, capability: tuple[int, int] = (8, 0), **values: Value) -> Case:
    cards = tuple(
        Device(id=f"gpu{n}", kind="cuda", name="card", total_bytes=size * GiB, compute_capability=capability) for n in range(devices)
    )
    return ENGINE.resolve(
        Case(
            model=MODEL,
            engine="transformers",
            version=version(release),
            machine=Machine(devices=cards),
            parallel=Parallel(pipeline=devices),
            workload=Workload(context_tokens=4096),
            settings=Settings.of(values),
        )
    )


def why(asked: Case) -> str:
    return "; ".join(found.why for found in ENGINE.objections(asked))


def test_a_plain_case_meets_no_objection() -> None:
    assert ENGINE.objections(case()) == ()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"cache_implementation": "paged_kv"}, "knows the caches"),
        ({"attn_implementation": "flash"}, "no way to compute attention"),
        ({"attn_implementation": "flash_attention_2", "dtype": "float32"}, "no float32 kernels"),
        ({"cache_implementation": "quantized", "cache_nbits": 3}, "no 3-bit cache"),
        ({"cache_implementation": "quantized", "cache_backend": "zip"}, "quantised by"),
        ({"release": "4.30.2", "attn_implementation": "sdpa"}, "came with 4.36"),
        ({"release": "4.36.2", "cache_implementation": "static"}, "knows the caches dynamic"),
        ({"size": 8}, "read from disk for every token"),
        ({"capability": (7, 5), "attn_implementation": "flash_attention_2"}, "older than compute capability 8.0"),
        ({"release": "4.46.0", "continuous_batching": True}, "since 5.0"),
        ({"continuous_batching": True, "devices": 2}, "one device"),
        ({"continuous_batching": True, "size": 20, "max_batch_tokens": 500_000}, "needs"),
        ({"devices": 2, "device_map": "cuda:0"}, "names one device"),
    ],
)
def test_what_cannot_start_is_said_with_a_reason(values: dict[str, Value], words: str) -> None:
    assert words in why(case(**values))  # type: ignore[arg-type]


def test_a_misspelt_setting_names_the_nearest() -> None:
    with pytest.raises(InputError, match="attn_implementation"):
        ENGINE.validate("attn_implementaton", "sdpa")


@pytest.mark.parametrize(
    ("name", "value", "read_as"),
    [
        ("torch_dtype", "torch.bfloat16", "bfloat16"),
        ("dtype", "fp16", "float16"),
        ("max-new-tokens", "2k", 2000),
        ("continuous_batching", "true", True),
        ("max_memory_percent", "0.8", 0.8),
        ("max_memory", "0=20GiB,cpu=64GB", "0=20GiB,cpu=64GB"),
    ],
)
def test_settings_are_typed(name: str, value: Value, read_as: Value) -> None:
    assert ENGINE.validate(name, value) == read_as


@pytest.mark.parametrize(
    ("name", "value"),
    [("dtype", "int3"), ("max_new_tokens", "0"), ("max_memory", "lots"), ("continuous_batching", "maybe"), ("max_memory_percent", "2")],
)
def test_values_that_mean_nothing_are_refused(name: str, value: Value) -> None:
    with pytest.raises(InputError, match=name):
        ENGINE.validate(name, value)


def test_resolving_twice_changes_nothing() -> None:
    once = case(max_new_tokens=100)
    assert ENGINE.resolve(once) == once
    assert (once.workload.prompt_tokens, once.workload.context_tokens) == (3996, 4096)


def test_the_script_is_python_that_loads_as_planned() -> None:
    planned = ENGINE.command(case(cache_implementation="quantized", max_memory="0=20GiB,cpu=64GiB", max_new_tokens=64))
    ((name, text),) = planned.files
    ast.parse(text)
    assert planned.argv == ("python", name)
    for words in ("dtype=torch.bfloat16", "device_map='auto'", "'backend': 'quanto'", "max_new_tokens=64", f"{20 * GiB}B"):
        assert words in text


def test_old_releases_say_torch_dtype() -> None:
    ((_, text),) = ENGINE.command(case(release="4.46.0", dtype="auto")).files
    assert "torch_dtype=torch.bfloat16" in text


def test_the_serving_command_reads_back_as_the_same_settings() -> None:
    asked = case(continuous_batching=True, max_batch_tokens=2048, max_memory_percent=0.85)
    request = ENGINE.read_command(ENGINE.command(asked).argv, {}, None)
    assert request is not None
    assert request.model == "org/m"
    assert request.findings == ()
    for name in ("continuous_batching", "max_batch_tokens", "max_memory_percent", "dtype", "attn_implementation"):
        assert request.settings.get(name) == asked.settings.get(name)


@pytest.mark.parametrize(
    ("release", "words"), [("5.0.0", ("--force-model", "org/m")), ("5.4.0", ("--force-model", "org/m")), ("5.5.0", ("org/m",))]
)
def test_the_server_is_told_its_model_in_the_spelling_of_the_release(release: str, words: tuple[str, ...]) -> None:
    argv = ENGINE.command(case(release=release, continuous_batching=True)).argv
    assert argv[: 2 + len(words)] == ("transformers", "serve", *words)
    request = ENGINE.read_command(argv, {}, version(release))
    assert request is not None
    assert (request.model, request.findings) == ("org/m", ())


def test_a_server_is_asked_for_no_pool_before_it_has_flags_for_one() -> None:
    asked = case(release="5.4.0", continuous_batching=True, num_blocks=100)
    assert [found.text for found in ENGINE.objections(asked)] == ["No such option: --cb-num-blocks"]
    assert not why(case(release="5.5.0", continuous_batching=True, num_blocks=100))
    assert not [lever.setting for lever in ENGINE.levers(asked) if lever.setting.startswith("max_")]


def test_a_server_is_offered_only_what_its_command_can_say() -> None:
    """A map or limits of devices and pieces of a prompt are arguments of a script."""
    served = {lever.setting for lever in ENGINE.levers(case(devices=2, continuous_batching=True))}
    assert served.isdisjoint({"max_memory", "device_map", "prefill_chunk_size", "cache_implementation"})
    assert {"max_memory", "prefill_chunk_size"} <= {lever.setting for lever in ENGINE.levers(case(devices=2))}


def test_a_misspelt_flag_is_found_with_the_right_one() -> None:
    request = ENGINE.read_command(("transformers", "serve", "m", "--attn-implementaton", "sdpa"), {}, None)
    assert request is not None
    assert any("did you mean --attn-implementation" in finding.text for finding in request.findings)


def test_the_flags_of_a_chat_are_read() -> None:
    request = ENGINE.read_command(("transformers", "chat", "m", "http://localhost:8000/v1", "max_new_tokens=100"), {}, None)
    assert request is not None
    assert request.settings.integer("max_new_tokens") == 100


@pytest.mark.parametrize("line", ["vllm serve m", "transformers env", "python train.py", "transformers"])
def test_other_commands_are_not_ours(line: str) -> None:
    assert ENGINE.read_command(tuple(line.split()), {}, None) is None


OOM = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 26.00 MiB. GPU 0 has a total capacity of 15.99 GiB of which 0 bytes is "
    "free. Including non-PyTorch memory, this process has 15.50 GiB memory in use. Of the allocated memory 15.09 GiB is allocated by "
    "PyTorch, and 120.50 MiB is reserved by PyTorch but unallocated."
)
OLD_OOM = (
    "CUDA out of memory. Tried to allocate 172.00 MiB (GPU 0; 23.65 GiB total capacity; 22.99 GiB already allocated; 154.06 MiB free; "
    "23.10 GiB reserved in total by PyTorch)"
)


def test_an_allocation_that_failed_is_read_with_all_its_figures() -> None:
    fact = ENGINE.read_log_line(OOM)
    assert fact is not None
    assert (fact.name, fact.value) == ("error.torch_oom", 26 * MiB)
    details = dict(fact.details)
    assert details["allocated_bytes"] == int(15.09 * GiB)
    assert (details["free_bytes"], details["device"]) == (0, 0)


def test_the_older_wording_is_read_too() -> None:
    fact = ENGINE.read_log_line(OLD_OOM)
    assert fact is not None
    assert dict(fact.details)["free_bytes"] == int(154.06 * MiB)
    assert dict(fact.details)["reserved_bytes"] == int(23.10 * GiB)


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("Some parameters are on the meta device because they were offloaded to the cpu.", "offloaded_to", "cpu"),
        ("Some parameters are on the meta device because they were offloaded to the cpu and disk.", "offloaded_to", "cpu and disk"),
        ("We will use 90% of the memory on device 0 for storing the model", "weights_per_cent", 90),
        ("Current model requires 1024 bytes of buffer for offloaded layers, which seems", "offload_buffer_bytes", 1024),
        ("Memory available for cache allocation: 100 MB", "pool_available_bytes", 100 * MiB),
        ("MemoryError: Memory footprint 200 is more than available memory 100", "error.pool_footprint", 200),
        ("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8589934592 bytes. Error code 12", "error.host_oom", 8 * GiB),
    ],
)
def test_log_lines_become_facts(line: str, name: str, value: Value) -> None:
    fact = ENGINE.read_log_line(line)
    assert fact is not None
    assert (fact.name, fact.value) == (name, value)


def test_other_lines_state_nothing() -> None:
    assert ENGINE.read_log_line("Loading checkpoint shards: 100%") is None
    assert ENGINE.read_metrics("anything") == ()


def test_a_script_answers_more_than_one_token_where_nobody_said_how_many() -> None:
    unsaid, said = (
        ullage.plan("Qwen3-8B", engine="transformers", gpu="4090", context="8K", set=more) for more in ({}, {"max_new_tokens": 64})
    )
    script = unsaid.command.files[0][1]
    assert "max_new_tokens=512," in script
    assert "max_length=7680)" in script
    assert "# The plan holds for any split of 8,192 tokens" in script
    assert unsaid.case.workload.prompt_tokens == 8191
    assert "max_new_tokens=64," in said.command.files[0][1]
    assert "# The plan holds" not in said.command.files[0][1]
