import pytest

from ullage import formats
from ullage.architectures import read
from ullage.domain.checkpoint import Part, Role, Tensor
from ullage.domain.family import Blueprint
from ullage.domain.hyperparameters import Hyperparameters, Json
from ullage.errors import InputError, UnsupportedModelError

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
    assert [t for t in before if t.role is Role.NORM] == [t for t in after if t.role is Role.NORM]
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
