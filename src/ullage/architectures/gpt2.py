"""GPT-2 and its multi-query kin of the first StarCoder: learned positions, layer norms, a plain MLP."""

from ullage.architectures._decoder import GPT, widths
from ullage.architectures._gpt import Biases, Names, gpt
from ullage.domain.checkpoint import Part, Role, Tensor
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.formulas import tensors as block
from ullage.frozen import replace

_NAMES = Names(
    qkv="attn.c_attn", out="attn.c_proj", up="mlp.c_fc", down="mlp.c_proj", norms=("ln_1", "ln_2"), table="wte", final_norm="ln_f"
)
_STORED_TURNED = frozenset({Role.QKV, Role.O, Role.UP, Role.DOWN})


def _as_stored(tensor: Tensor) -> Tensor:
    """GPT-2 keeps its matrices as (in_features, out_features)."""
    turned = tensor.role in _STORED_TURNED and tensor.part is Part.WEIGHT
    return replace(tensor, shape=tensor.shape[::-1]) if turned else tensor


def read(config: Hyperparameters) -> Blueprint:
    """``n_positions`` is a hard bound: the table has no more rows."""
    bigcode = config.text("model_type") == "gpt_bigcode"
    one_key_head = bigcode and config.flag("multi_query", default=True)
    size = widths(config, tied=True, positions=1024, kv_heads=1 if one_key_head else None, spelling=GPT)
    config.must_be("add_cross_attention", False)
    positions = block.weight("transformer.wpe.weight", Role.POSITION, None, (size.positions, size.hidden), size.fmt)
    width = config.integer_or("n_inner", config.integer_or("intermediate_size", 4 * size.hidden, low=1), low=1)
    model = gpt(config, size, _NAMES, Biases(), intermediate=width, before=(positions,))
    return model if bigcode else replace(model, tensors=tuple(_as_stored(tensor) for tensor in model.tensors))


FAMILY = Family(model_types=("gpt2", "gpt_bigcode"), read=read, title="GPT-2, StarCoder 1")
