"""What keeps an engine from starting and is no want of memory: each is told by its own words, with the one thing that helps."""

import pytest
from tests.unit.test_diagnose_forms import diagnosed

from ullage.commands.model import read_model
from ullage.domain.cause import Family, Kind, Stage
from ullage.errors import WorldError
from ullage.units import GiB
from ullage.world import real

REFUSED = (
    ("huggingface_hub.errors.GatedRepoError: 401 Client Error. (Request ID: Root=1-68)", "HF_TOKEN", Family.NOT_MEMORY),
    ("OSError: [Errno 28] No space left on device: '/root/.cache/huggingface/hub'", "HF_HOME", Family.NOT_MEMORY),
    (
        "ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0. Your Tesla T4 GPU has 7.5.",
        "dtype",
        Family.COMMAND,
    ),
    ("gguf_init_from_file_impl: invalid magic characters: '<!DO', expected 'GGUF'", "the model's file", Family.NOT_MEMORY),
    (
        "llama_model_load: error loading model: tensor 'blk.2.ffn_down.weight' data is not within the file bounds",
        "the model's file",
        Family.NOT_MEMORY,
    ),
    ("llama_model_load: error loading model: unknown model architecture: 'some-new'", "the engine's release", Family.COMMAND),
    (
        "ValueError: The repository /models/x contains custom code which must be executed. Please pass `trust_remote_code=True`.",
        "trust_remote_code",
        Family.COMMAND,
    ),
    ("ggml_new_object: not enough space in the context's memory pool (needed 368, available 0)", "ubatch_size", Family.NOT_MEMORY),
    ("Warning FailedScheduling 10s default-scheduler 0/5 nodes are available: 5 Insufficient nvidia.com/gpu.", "resources.requests", None),
    ("Warning  Unhealthy  10s (x12 over 5m)  kubelet  Liveness probe failed: connection refused", "startupProbe", None),
)


@pytest.mark.parametrize(("text", "helps", "family"), REFUSED)
def test_a_refusal_is_told_by_its_own_words_and_offers_nothing_for_memory(text: str, helps: str, family: Family | None) -> None:
    found = diagnosed(text)
    assert found.causes[0].family is (family or Family.NOT_MEMORY)
    assert [change.setting for change in found.changes] == [helps]


def test_a_refusal_stands_behind_a_death_for_want_of_memory() -> None:
    found = diagnosed("CUDA error: out of memory\nContainer vllm failed liveness probe, will be restarted")
    assert found.causes[0].family is Family.DEVICE


@pytest.mark.parametrize(
    "line",
    [
        "INFO 11-21 10:02:23 [utils.py:233] non-default args: {'model': 'x/y', 'trust_remote_code': True}",
        "WARNING: The argument `trust_remote_code` is to be used with Auto classes. It has no effect here and is ignored.",
        "  MemoryPressure   False   Fri, 21 Nov 2026   KubeletHasSufficientMemory   kubelet has sufficient memory available",
    ],
)
def test_what_only_names_the_same_words_is_no_failure(line: str) -> None:
    assert not diagnosed(line).causes


def test_an_eviction_for_memory_is_of_host_memory() -> None:
    found = diagnosed("Warning Evicted 12s kubelet The node was low on resource: memory. Container vllm was using 61Gi, request is 16Gi")
    assert found.causes[0].family is Family.HOST
    assert dict(found.log.sightings[0].fact.details)["resident_bytes"] == 61 * GiB


def test_pages_that_could_not_be_locked_are_a_warning() -> None:
    found = diagnosed(
        "llama_model_loader: loaded meta data\nwarning: failed to mlock 4294967296-byte buffer (after previously locking 0 bytes): "
        "Cannot allocate memory\nTry increasing RLIMIT_MEMLOCK"
    )
    assert not found.causes
    assert "mlock" in found.noise[0].text


def test_layers_are_moved_away_from_what_ran_out() -> None:
    host = diagnosed('level=INFO msg="Load failed" error="model requires more system memory (21.3 GiB) than is available (9.8 GiB)"')
    device = diagnosed(
        "load_tensors: offloading 41 layers to GPU\nggml_backend_cuda_buffer_type_alloc_buffer: allocating 5000.00 MiB on device 0: "
        "cudaMalloc failed: out of memory"
    )
    assert (host.causes[0].kind, device.causes[0].family) == (Kind.HOST, Family.DEVICE)
    assert [change.up for change in host.changes if change.setting == "n_gpu_layers"] == [True]
    assert [change.up for change in device.changes if change.setting == "n_gpu_layers"] == [False]


def test_a_name_that_a_module_lacks_is_no_memory_that_ran_out() -> None:
    found = diagnosed("AttributeError: module 'torch' has no attribute 'OutOfMemoryError'")
    assert found.causes[0].family is Family.NOT_MEMORY
    assert diagnosed("torch.OutOfMemoryError: CUDA out of memory.").causes[0].family is Family.DEVICE


@pytest.mark.parametrize(
    ("headline", "stage"),
    [
        ("CUDA out of memory after 12 questions", Stage.UNDER_LOAD),
        ("Out of memory with bigger prompts", Stage.FIRST_PROMPT),
        ("GPU out of memory in multi-batch serving", Stage.UNDER_LOAD),
        ("OOM during generation", Stage.FIRST_PROMPT),
    ],
)
def test_a_headline_tells_the_step(headline: str, stage: Stage) -> None:
    first = diagnosed(headline).causes[0]
    assert first.stage is stage
    assert first.kind in {Kind.WORKSPACE, Kind.ACTIVATIONS}


STARTED = "(APIServer pid=9) INFO:     Application startup complete."
DIED = "RuntimeError: CUDA out of memory occurred when warming up sampler with 1024 dummy requests."


def test_a_restart_that_came_up_is_said_beside_the_failure() -> None:
    again, before, twice = (diagnosed("\n".join(lines)) for lines in ((DIED, STARTED), (STARTED, DIED), (DIED, STARTED, DIED)))
    assert [found.causes[0].kind for found in (again, before, twice)] == [Kind.SAMPLER] * 3
    assert "at line 2, a server was ready again" in again.notes[0]
    assert not any("ready again" in note for found in (before, twice) for note in found.notes)


@pytest.mark.parametrize(("said", "device"), [("GPU 1 has a total capacity", "gpu1"), ("GPU 0 has a total capacity", "gpu0")])
def test_a_card_is_called_as_everywhere(said: str, device: str) -> None:
    found = diagnosed(
        f"torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.00 GiB. {said} of 23.52 GiB of which 412.00 MiB is free."
    )
    assert found.budget is not None
    assert found.budget.device == device


def test_a_bundled_model_in_another_form_is_named_where_the_hub_is_not_reached() -> None:
    files = real.world(offline=True).models
    with pytest.raises(WorldError, match=r"Qwen/Qwen2\.5-32B-Instruct with --quant awq"):
        read_model("Qwen/Qwen2.5-32B-Instruct-AWQ", files)
    with pytest.raises(WorldError) as unknown:
        read_model("nobody/No-Such-Model-AWQ", files)
    assert "--quant" not in str(unknown.value)
