"""IPEX-LLM's low-bit weights: ggml-like blocks of 64 (256 for k-quants), scales within the block."""

from ullage.catalog.ipex_blocks import BLOCKS, SPELLINGS
from ullage.catalog.tensor_formats import F16
from ullage.domain.checkpoint import Role, Tensor, TensorFormat
from ullage.domain.hyperparameters import Hyperparameters, Json
from ullage.domain.weight_format import Recipe
from ullage.errors import UnsupportedModelError
from ullage.formats._modules import convert, linears
from ullage.formats._patterns import named
from ullage.frozen import replace


def reads(config: Hyperparameters) -> bool:
    """Whether the scheme is IPEX-LLM's."""
    return config.raw("quant_method") == "ipex-llm"


def apply(tensors: tuple[Tensor, ...], config: Hyperparameters) -> tuple[tuple[Tensor, ...], str]:
    """Every linear layer and the head whose inputs fill whole blocks; the rest goes to 16 bits, as the library converts it."""
    word = config.text("load_in_low_bit")
    name = SPELLINGS.get(word, word)
    if name not in BLOCKS:
        raise UnsupportedModelError(f"load_in_low_bit is {word[:40]!r}; known are {', '.join(BLOCKS)}")
    elements, nbytes = BLOCKS[name]
    fmt = TensorFormat(name=word, block_elements=elements, block_bytes=nbytes)
    known = linears(tensors, skip=named(config, "modules_to_not_convert"), head=True)
    stored = convert(
        tensors,
        lambda tensor: known(tensor) and tensor.shape[-1] % elements == 0,
        lambda weight: (replace(weight, format=fmt),),
    )
    return tuple(_in_half(tensor) for tensor in stored), f"ipex-llm {word}"


def _in_half(tensor: Tensor) -> Tensor:
    """Everything else runs in float16; norms keep their size, which is the same in bfloat16."""
    wide = tensor.format.name == "float32" and tensor.role is not Role.NORM
    return replace(tensor, format=F16) if wide else tensor


def meaning(word: str) -> dict[str, Json] | None:
    """``sym_int4`` and its like; ``ipex_nf4`` where another library has the plain word."""
    return {"quant_method": "ipex-llm", "load_in_low_bit": word} if word in BLOCKS else None


RECIPE = Recipe(name="ipex-llm", reads=reads, apply=apply, words=tuple(BLOCKS), named=meaning)
