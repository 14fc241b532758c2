"""MiMo: Qwen2's shape with a draft layer beside it."""

from ullage.architectures._decoder import Widths, widths
from ullage.architectures._dense import PRE_NORMS, attention, dense, mlp, norms
from ullage.architectures._drafts import as_draft
from ullage.architectures._qwen import mixers
from ullage.domain.checkpoint import Role, Tensor
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.formulas import tensors as block


def _draft(index: int, size: Widths, intermediate: int, *, bias: bool) -> tuple[Tensor, ...]:
    """A decoder layer, two norms, a projection of both inputs, and a last norm."""
    at = f"model.mtp_layers.{index}"
    return (
        *attention(f"{at}.self_attn", index, size, qkv_bias=bias),
        *mlp(f"{at}.mlp", index, size, intermediate),
        *norms(at, (*PRE_NORMS, "token_layernorm", "hidden_layernorm", "final_layernorm"), index, size),
        *block.linear(f"{at}.input_proj", Role.OTHER, index, size.hidden, 2 * size.hidden, size.fmt),
    )


def read(config: Hyperparameters) -> Blueprint:
    """The draft is in the checkpoint and not in the parameter count."""
    size = widths(config, head_dim=128, positions=32768)
    bias = config.flag("attention_bias", default=True)
    intermediate = config.integer("intermediate_size")
    config.ignore("use_mrope")
    drafts = range(config.integer_or("num_nextn_predict_layers", 0))
    after = as_draft(tensor for index in drafts for tensor in _draft(index, size, intermediate, bias=bias))
    return dense(config, size, mixers=mixers(config, size), qkv_bias=bias, after=after)


FAMILY = Family(model_types=("mimo",), read=read, title="MiMo 7B")
