"""What an engine says of itself in lines of its own: what was free, its settings, its model and its card."""

import pytest
from tests.unit.test_diagnose import diagnosed, of_file

from ullage.domain.cause import Diagnosis
from ullage.domain.ledger import Purpose
from ullage.domain.plan import Verdict
from ullage.units import MiB

LLAMA = """\
llama_model_load_from_file_impl: using device CUDA0 (NVIDIA GeForce RTX 4060 Laptop GPU) (0000:01:00.0) - {free} MiB free
llama_model_loader: loaded meta data with 32 key-value pairs and 443 tensors from /models/{file} (version GGUF V3 (latest))
load_tensors: offloaded 28/41 layers to GPU
load_tensors:        CUDA0 model buffer size =  5413.00 MiB
load_tensors:   CPU_Mapped model buffer size =  8582.80 MiB
llama_context: n_ctx         = 16384
llama_context: n_ubatch      = 512
llama_kv_cache:        CPU KV buffer size =   768.00 MiB
ggml_backend_cuda_buffer_type_alloc_buffer: allocating 1792.00 MiB on device 0: cudaMalloc failed: out of memory
alloc_tensor_range: failed to allocate CUDA0 buffer of size 1879048192
llama_init_from_model: failed to initialize the context: failed to allocate buffer for kv cache
"""


def of_llama(free: int = 7053, file: str = "Qwen3-14B-Q4_K_M.gguf", **options: object) -> Diagnosis:
    return diagnosed(LLAMA.format(free=free, file=file), **options)


@pytest.mark.parametrize("free", [6000, 7053])
def test_what_was_missing_is_what_was_asked_for_less_what_was_left_of_what_was_free_at_the_start(free: int) -> None:
    found = of_llama(free)
    assert found.causes[0].lacking_bytes == (1792 - (free - 5413)) * MiB
    assert found.budget is not None
    assert found.budget.free_bytes == (free - 5413) * MiB


def test_what_other_devices_took_is_not_counted() -> None:
    two = "using device CUDA1 (NVIDIA GeForce RTX 4090) - 23000 MiB free\nload_tensors:        CUDA1 model buffer size =  9000.00 MiB\n"
    assert diagnosed(two + LLAMA.format(free=7053, file="x.gguf")).causes[0].lacking_bytes == 152 * MiB


def test_a_log_that_does_not_tell_what_was_free_tells_only_what_was_asked_for() -> None:
    text = "\n".join(LLAMA.format(free=1, file="x.gguf").splitlines()[1:])
    assert diagnosed(text).causes[0].lacking_bytes == 1792 * MiB


def test_the_model_is_known_by_its_file_and_the_settings_by_what_they_came_to() -> None:
    found = of_llama()
    assert found.model == "Qwen/Qwen3-14B"
    assert found.budget is not None
    terms = {term.purpose: term for term in found.budget.terms}
    assert terms[Purpose.WEIGHTS].predicted is not None
    assert terms[Purpose.WEIGHTS].predicted.expected == pytest.approx(5413 * MiB, rel=0.06)
    layers = next(one for one in found.changes if one.setting == "n_gpu_layers")
    assert isinstance(layers.value, int)
    assert 14 < layers.value < 28
    context = next(one for one in found.changes if one.setting == "ctx_size")
    assert isinstance(context.value, int)
    assert context.value < 16384


def test_a_model_without_experts_is_told_nothing_of_experts() -> None:
    assert all("moe" not in one.setting for one in of_llama().changes)
    assert any("moe" in one.setting for one in of_llama(file="mine-Q4_K_M.gguf").changes)  # of which nothing is known


@pytest.mark.parametrize("free", [5900, 7053])
def test_of_a_model_that_nobody_knows_as_many_layers_go_as_were_too_much(free: int) -> None:
    found = of_llama(free, file="mine-Q4_K_M.gguf")
    layers = next(one for one in found.changes if one.setting == "n_gpu_layers")
    missing, each = 1792 - (free - 5413), (5413 + 1792) / 28
    assert isinstance(layers.value, int)
    assert 28 - layers.value == pytest.approx(missing / each, abs=1.2)
    assert (28 - layers.value) * each >= missing


@pytest.mark.parametrize(("free", "value"), [(7053, 8192), (5900, 2048), (5600, 1024)])
def test_of_a_model_that_nobody_knows_the_context_is_halved_until_its_cache_fits(free: int, value: int) -> None:
    context = next(one for one in of_llama(free, file="mine-Q4_K_M.gguf").changes if one.setting == "ctx_size")
    assert context.value == value


def test_a_step_is_halved_until_what_it_asked_for_fits() -> None:
    text = LLAMA.format(free=7053, file="blob.gguf").replace("buffer for kv cache", "compute pp buffers").replace("= 512", "= 4096")
    step = next(one for one in diagnosed(text.replace("1792.00", "3400.00").replace("1879048192", "3565158400")).changes)
    assert (step.setting, step.value) == ("ubatch_size", 1024)


def test_a_name_without_a_scheme_is_not_planned_as_whole_weights() -> None:
    text = LLAMA.format(free=7053, file="blob.gguf") + "print_info: general.name     = Qwen3 14B\n"
    assert diagnosed(text).model is None
    assert diagnosed("print_info: file type   = Q4_K - Medium\n" + text).model == "Qwen/Qwen3-14B"


def test_a_change_frees_what_was_missing_where_the_log_tells_how_much_that_was() -> None:
    for one in of_llama(gpu="8GiB").changes:
        assert one.verdict not in {Verdict.FITS, Verdict.TIGHT} or (one.frees_bytes or 0) >= 152 * MiB


def test_a_shipped_log_without_what_was_free_is_as_it_was() -> None:
    assert of_file("llama_cpp_compute.log").changes[0].setting == "ubatch_size"
