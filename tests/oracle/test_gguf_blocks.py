"""Our unpacking of blocks, and our names of tensors, against the ``gguf`` package."""

import pytest

gguf = pytest.importorskip("gguf")
numpy = pytest.importorskip("numpy")
torch = pytest.importorskip("torch")

from tests.runtime.tiny import TINY_CONFIGS, blueprint_of  # noqa: E402 - after the skips

from ullage.catalog.tensor_formats import GGML_TYPES  # noqa: E402 - as above
from ullage.runtime.loading.gguf_names import names_of  # noqa: E402 - as above
from ullage.runtime.loading.unpack import UNPACKERS, unpack  # noqa: E402 - as above

pytestmark = pytest.mark.oracle
NUMBERS = {fmt.name: number for number, fmt in GGML_TYPES.items()}
ARCHITECTURES = {
    "llama": "llama",
    "mistral": "mistral3",
    "mixtral": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "qwen2_moe": "qwen2moe",
    "qwen3_moe": "qwen3moe",
    "gemma2": "gemma2",
    "gemma3_text": "gemma3",
    "phi3": "phi3",
    "deepseek_v2": "deepseek2",
    "deepseek_v3": "deepseek2",
    "gpt_oss": "gpt-oss",
}


@pytest.mark.parametrize("name", sorted(UNPACKERS))
def test_random_blocks_unpack_bit_for_bit(name: str) -> None:
    fmt = GGML_TYPES[NUMBERS[name]]
    blocks = numpy.random.default_rng(1).integers(0, 256, (256, fmt.block_bytes), dtype=numpy.uint8)
    with numpy.errstate(all="ignore"):
        expected = gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType(NUMBERS[name]))
    found = unpack(torch.from_numpy(blocks), fmt).numpy()
    same = (expected.view(numpy.int32) == found.view(numpy.int32)) | numpy.isnan(expected)
    assert same.all()
    assert (numpy.isnan(expected) == numpy.isnan(found)).all()


@pytest.mark.parametrize("family", sorted(ARCHITECTURES))
def test_names_are_those_of_the_package(family: str) -> None:
    word = ARCHITECTURES[family]
    kind = next(number for number, name in gguf.MODEL_ARCH_NAMES.items() if name == word)
    theirs = gguf.get_tensor_name_map(kind, 4)
    ours = names_of(word, family)
    back = {f"model.layers.1.{name}": f"blk.1.{stem}" for stem, name in ours.stems.items()}
    compared = 0
    for tensor in blueprint_of(TINY_CONFIGS[family]).tensors:
        expected = theirs.get_name(tensor.name, try_suffixes=(".weight", ".bias"))
        if expected is None or ".experts" in tensor.name or tensor.layer not in (None, 1):
            continue
        if tensor.layer is None:
            assert ours.outside[expected] == tensor.name
        else:
            bare = tensor.name.removesuffix(".weight").removesuffix(".bias")
            assert back[bare] == expected.removesuffix(".weight").removesuffix(".bias"), tensor.name
        compared += 1
    assert compared >= 8
