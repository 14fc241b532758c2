from dataclasses import replace
from pathlib import Path

import pytest
from tests.header_files import as_safetensors

from ullage import formats, wire
from ullage.architectures import read
from ullage.domain.checkpoint import Part, Role, Tensor
from ullage.domain.family import Blueprint
from ullage.domain.hyperparameters import Hyperparameters, Json
from ullage.domain.weight_format import Header
from ullage.errors import InputError, MalformedFileError, UnsupportedModelError
from ullage.formats import safetensors
from ullage.units import GiB

CONFIGS = Path(wire.__file__).parent / "catalog" / "configs"

LLAMA: dict[str, Json] = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 2,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "torch_dtype": "bfloat16",
}


def llama() -> Blueprint:
    return read(Hyperparameters(LLAMA))


def stored(scheme: str | dict[str, Json]) -> tuple[Tensor, ...]:
    config = formats.named_scheme(scheme) if isinstance(scheme, str) else scheme
    return formats.checkpoint(llama(), Hyperparameters(config)).tensors


def of(tensors: tuple[Tensor, ...], end: str) -> Tensor:
    return next(tensor for tensor in tensors if tensor.name.endswith(end))


def test_without_a_scheme_the_tensors_stay_in_the_models_dtype() -> None:
    plain = formats.checkpoint(llama(), None)
    assert plain.tensors == llama().tensors
    assert (plain.scheme, plain.exact) == ("bfloat16", False)


@pytest.mark.parametrize("word", formats.scheme_words())
def test_every_scheme_leaves_norms_and_biases_alone_and_loses_no_weight(word: str) -> None:
    before, after = llama().tensors, stored(word)
    assert [(t.name, t.shape) for t in before if t.role is Role.NORM] == [(t.name, t.shape) for t in after if t.role is Role.NORM]
    assert {(t.role, t.layer) for t in before} == {(t.role, t.layer) for t in after}
    assert len({t.name for t in after}) == len(after)
    assert sum(t.nbytes for t in after) < sum(t.nbytes for t in before)


def test_fp8_keeps_one_byte_a_weight_and_one_scale_a_tensor() -> None:
    tensors = stored("fp8")
    weight, scale = of(tensors, "layers.0.self_attn.k_proj.weight"), of(tensors, "layers.0.self_attn.k_proj.weight_scale")
    assert (weight.shape, weight.nbytes) == ((1024, 4096), 1024 * 4096)
    assert (scale.shape, scale.nbytes, scale.part, scale.role) == ((), 4, Part.SCALE, Role.K)
    assert of(tensors, "lm_head.weight").nbytes == 128256 * 4096 * 2


def test_a_block_scale_covers_incomplete_blocks() -> None:
    tensors = stored({"quant_method": "fp8", "weight_block_size": [100, 100]})
    assert of(tensors, "0.self_attn.k_proj.weight_scale_inv").shape == (11, 41)


def test_awq_packs_along_outputs_and_gptq_along_inputs() -> None:
    awq, gptq = stored("awq"), stored("gptq-int4")
    assert of(awq, "0.mlp.up_proj.qweight").shape == (4096, 1792)
    assert of(awq, "0.mlp.up_proj.qzeros").shape == (32, 1792)
    assert of(awq, "0.mlp.up_proj.scales").shape == (32, 14336)
    assert of(gptq, "0.mlp.up_proj.qweight").shape == (512, 14336)
    assert of(gptq, "0.mlp.up_proj.qzeros").shape == (32, 1792)
    assert of(gptq, "0.mlp.up_proj.g_idx").shape == (4096,)


def test_three_bit_gptq_leaves_no_gap() -> None:
    assert of(stored("gptq-int3"), "0.mlp.up_proj.qweight").shape == (4096 * 3 // 32, 14336)


def test_gptq_without_groups_has_one_scale_for_each_output() -> None:
    tensors = stored({"quant_method": "gptq", "bits": 8, "group_size": -1})
    assert of(tensors, "0.mlp.up_proj.scales").shape == (1, 14336)


@pytest.mark.parametrize(
    ("listed", "quantised"),
    [
        ([], 14),
        (["model.layers.0"], 7),
        (["layers.{0-1}.mlp"], 8),
        (["layers.*.mlp.up_proj"], 12),
        (["re:.*self_attn.*"], 6),
        (["q_proj", "model.layers.1.mlp.gate_proj"], 11),
        (["gate"], 14),
        (["model.language_model.layers.1*"], 7),
    ],
)
def test_listed_modules_stay_as_they_were(listed: list[Json], quantised: int) -> None:
    tensors = stored({"quant_method": "fp8", "modules_to_not_convert": listed})
    assert sum(tensor.part is Part.SCALE for tensor in tensors) == quantised


def test_gptq_reads_its_own_list_of_exceptions() -> None:
    tensors = stored({"quant_method": "gptq", "bits": 4, "group_size": 128, "dynamic": {"-:.*mlp.*": {}, "+:.*q_proj": {"bits": 8}}})
    assert of(tensors, "0.mlp.up_proj.weight").shape == (14336, 4096)
    assert of(tensors, "0.self_attn.q_proj.qweight").shape == (1024, 4096)
    assert of(tensors, "0.self_attn.o_proj.qweight").shape == (512, 4096)


def test_an_unknown_scheme_is_named() -> None:
    with pytest.raises(UnsupportedModelError, match="'future'"):
        stored({"quant_method": "future"})
    with pytest.raises(InputError, match="awq"):
        formats.named_scheme("akq")


def bundled(name: str) -> tuple[Blueprint, Hyperparameters | None]:
    raw = wire.loads((CONFIGS / f"{name}.json").read_bytes())
    assert isinstance(raw, dict)
    config = Hyperparameters(raw)
    return read(config), formats.quantization_of(Hyperparameters(raw))


def quantised_configs() -> list[str]:
    files = sorted(CONFIGS.glob("*.json"))
    return [file.stem for file in files if b"quant_method" in (text := file.read_bytes()) or b"quant_algo" in text]


@pytest.mark.parametrize("name", quantised_configs())
def test_every_bundled_scheme_gives_a_checkpoint_and_leaves_nothing_unread(name: str) -> None:
    blueprint, quantization = bundled(name)
    assert quantization is not None
    checkpoint = formats.checkpoint(blueprint, quantization)
    assert quantization.unread() == ()
    assert any(tensor.part is Part.SCALE for tensor in checkpoint.tensors)
    assert checkpoint.nbytes < 0.72 * sum(tensor.nbytes for tensor in blueprint.tensors)


def gib(blueprint: Blueprint, scheme: str | None) -> float:
    """Everything but draft layers and what no engine keeps on the device (the order of GPTQ's inputs)."""
    tensors = formats.checkpoint(blueprint, Hyperparameters(formats.named_scheme(scheme)) if scheme else None).tensors
    kept = (tensor for tensor in tensors if tensor.role is not Role.MTP and tensor.part is not Part.INDEX)
    return round(sum(tensor.nbytes for tensor in kept) / GiB, 4)


@pytest.mark.parametrize(
    ("model", "scheme", "expected"),
    [
        ("Qwen__Qwen3-8B", None, 15.2564),
        ("Qwen__Qwen3-8B", "fp8", 8.7877),
        ("Qwen__Qwen3-8B", "fp8-block", 8.7893),
        ("Qwen__Qwen3-8B", "fp8-channel", 8.7929),
        ("Qwen__Qwen3-8B", "w8a8", 8.7929),
        ("Qwen__Qwen3-8B", "awq", 5.6797),
        ("Qwen__Qwen3-8B", "gptq-int4", 5.6797),
        ("Qwen__Qwen3-8B", "w4a16", 5.6544),
        ("Qwen__Qwen3-8B", "nvfp4", 5.9576),
        ("Qwen__Qwen3-30B-A3B", None, 56.8705),
        ("Qwen__Qwen3-30B-A3B", "awq", 15.6487),
        ("deepseek-ai__DeepSeek-V3", None, 1249.8841),
        ("deepseek-ai__DeepSeek-V3", "fp8-block", 626.9204),
        ("openai__gpt-oss-20b", None, 38.9568),
    ],
)
def test_totals_are_those_vllm_allocates_for_its_parameters(model: str, scheme: str | None, expected: float) -> None:
    assert gib(bundled(model)[0], scheme) == pytest.approx(expected, abs=1.01e-4)


@pytest.mark.parametrize(
    ("model", "published"),
    [("openai__gpt-oss-20b", 13_761_264_768), ("openai__gpt-oss-120b", 65_248_815_744), ("deepseek-ai__DeepSeek-V3", 688_586_727_753)],
)
def test_totals_are_those_of_the_published_files(model: str, published: int) -> None:
    blueprint, quantization = bundled(model)
    assert formats.checkpoint(blueprint, quantization).nbytes == pytest.approx(published, rel=2e-5)


@pytest.mark.parametrize(
    ("file_type", "expected"),
    [
        ("q2_k", 2.95),
        ("q3_k_m", 3.74),
        ("q3_k_l", 4.02),
        ("iq3_xxs", 3.04),
        ("iq4_xs", 4.17),
        ("q4_0", 4.33),
        ("q4_k_s", 4.36),
        ("q4_k_m", 4.58),
        ("q5_k_m", 5.33),
        ("q6_k", 6.14),
        ("q8_0", 7.95),
        ("f16", 14.96),
    ],
)
def test_gguf_mixtures_have_the_sizes_llama_cpp_states_for_llama_3_1_8b(file_type: str, expected: float) -> None:
    assert gib(bundled("meta-llama__Llama-3.1-8B")[0], file_type) == pytest.approx(expected, abs=0.0051)


ALONE_IN_SAFETENSORS = [word for word in formats.scheme_words() if formats.named_scheme(word)["quant_method"] not in {"gguf", "ipex-llm"}]


def cut(blueprint: Blueprint) -> Blueprint:
    """Four layers and four experts of each are enough."""
    kept = (tensor for tensor in blueprint.tensors if tensor.layer is None or tensor.layer < 4)
    return replace(blueprint, tensors=tuple(replace(t, copies=min(t.copies, 4)) if "{expert}" in t.name else t for t in kept))


@pytest.mark.parametrize("word", ALONE_IN_SAFETENSORS)
@pytest.mark.parametrize("model", ["llama", "Qwen__Qwen3-30B-A3B", "openai__gpt-oss-20b"])
def test_what_a_scheme_stores_is_recognised_in_its_file(word: str, model: str) -> None:
    blueprint = cut(llama() if model == "llama" else bundled(model)[0])
    config = Hyperparameters(formats.named_scheme(word))
    by_rule = formats.checkpoint(blueprint, config)
    beginning, size = as_safetensors(by_rule.tensors)
    header = safetensors.read(beginning, size)
    assert isinstance(header, Header)
    exact, notes = formats.checkpoint_from_headers(blueprint, (header,), config)
    assert notes == ()
    assert (exact.nbytes, exact.scheme, exact.exact) == (by_rule.nbytes, by_rule.scheme, True)
    assert totals(exact.tensors) == totals(by_rule.tensors)
    assert len(exact.tensors) == len(by_rule.tensors)


def totals(tensors: tuple[Tensor, ...]) -> dict[tuple[Role, int | None, Part], int]:
    found: dict[tuple[Role, int | None, Part], int] = {}
    for tensor in tensors:
        key = (tensor.role, tensor.layer, tensor.part)
        found[key] = found.get(key, 0) + tensor.nbytes
    return found


def from_file(blueprint: Blueprint, tensors: tuple[Tensor, ...]) -> tuple[str, ...]:
    beginning, size = as_safetensors(tensors)
    header = safetensors.read(beginning, size)
    assert isinstance(header, Header)
    return formats.checkpoint_from_headers(blueprint, (header,), None)[1]


def test_unknown_missing_and_unused_tensors_are_noted() -> None:
    blueprint = llama()
    first = blueprint.tensors[0]
    assert from_file(blueprint, blueprint.tensors) == ()
    assert "unknown names: strange.thing" in from_file(blueprint, (*blueprint.tensors, replace(first, name="strange.thing")))[0]
    assert f"no file has under this name: {first.name}" in from_file(blueprint, blueprint.tensors[1:])[0]
    tied = replace(blueprint, architecture=replace(blueprint.architecture, tied_embeddings=True))
    assert "never loaded: lm_head.weight" in from_file(tied, blueprint.tensors)[0]


def test_a_tensor_in_two_files_is_refused() -> None:
    beginning, size = as_safetensors(llama().tensors[:1])
    header = safetensors.read(beginning, size)
    assert isinstance(header, Header)
    with pytest.raises(MalformedFileError, match="two of the files"):
        formats.checkpoint_from_headers(llama(), (header, header), None)


def test_the_scheme_is_found_wherever_a_configuration_keeps_it() -> None:
    scheme: dict[str, Json] = {"quant_method": "awq", "group_size": 64}
    for raw in ({"quantization_config": scheme}, {"compression_config": scheme}, {"text_config": {"quantization_config": scheme}}):
        found = formats.quantization_of(Hyperparameters(raw))
        assert found is not None
        assert found.integer("group_size") == 64
    assert formats.quantization_of(Hyperparameters({"quantization_config": {}, "text_config": None})) is None


@pytest.mark.parametrize(
    "config",
    [
        {"quant_method": "gptq", "bits": 5},
        {"quant_method": "fp8", "fmt": "e5m2"},
        {"quant_method": "awq", "bits": 4, "group_size": 128, "version": "other"},
        {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "int3"},
        {"quant_method": "torchao", "quant_type": "uintx"},
        {"quant_method": "modelopt", "quant_algo": "W3A3"},
        {"quant_method": "exl2", "bits": 90},
        {"quant_method": "ipex-llm", "load_in_low_bit": "int1"},
        {"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 4, "type": "float"}}}, "format": "dense"},
    ],
)
def test_a_variant_without_a_rule_is_refused_by_name(config: dict[str, Json]) -> None:
    with pytest.raises(UnsupportedModelError):
        stored(config)


@pytest.mark.parametrize("pattern", ["re:(", "re:" + "x" * 3000, "re:(a+)+$", "*.*.*.*.*.*.*.*", "layers.{1-" + "9" * 50 + "}"])
def test_a_broken_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(MalformedFileError, match="pattern"):
        stored({"quant_method": "fp8", "modules_to_not_convert": [pattern]})


def test_the_files_of_the_first_tools_are_read_without_a_name() -> None:
    gptq = stored({"bits": 4, "group_size": 128, "desc_act": False, "damp_percent": 0.01})
    awq = stored({"w_bit": 4, "q_group_size": 128, "zero_point": True, "version": "GEMM"})
    assert sum(t.nbytes for t in gptq if t.part is not Part.INDEX) == sum(t.nbytes for t in awq)


def test_headers_need_no_rule_for_their_scheme() -> None:
    beginning, size = as_safetensors(llama().tensors)
    header = safetensors.read(beginning, size)
    assert isinstance(header, Header)
    for config, name in (({"quant_method": "future"}, "future"), ({"quant_method": "gptq", "bits": 5}, "gptq")):
        assert formats.checkpoint_from_headers(llama(), (header,), Hyperparameters(config))[0].scheme == name
