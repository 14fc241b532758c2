"""EXAONE 3: Llama's shape under names of its own."""

from ullage.architectures._decoder import Spelling, widths
from ullage.architectures._dense import attention, norms, stack
from ullage.domain.architecture import DenseFeedForward
from ullage.domain.checkpoint import Role, Tensor
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.formulas import tensors as block

_SPELLING = Spelling(layers=("num_layers", "num_hidden_layers"))


def read(config: Hyperparameters) -> Blueprint:
    """c_fc_0 gates, c_fc_1 goes up."""
    size = widths(config, positions=2048, spelling=_SPELLING)
    width = config.integer_or("intermediate_size", 4 * size.hidden, low=1)

    def parts(at: str, index: int) -> tuple[Tensor, ...]:
        return (
            *attention(f"{at}.attn.attention", index, size, out_name="out_proj"),
            *block.linear(f"{at}.mlp.c_fc_0", Role.GATE, index, width, size.hidden, size.fmt),
            *block.linear(f"{at}.mlp.c_fc_1", Role.UP, index, width, size.hidden, size.fmt),
            *block.linear(f"{at}.mlp.c_proj", Role.DOWN, index, size.hidden, width, size.fmt),
            *norms(at, ("ln_1", "ln_2"), index, size),
        )

    feed_forward = DenseFeedForward(intermediate=width)
    return stack(config, size, "transformer.h", parts, feed_forward, prefix="transformer", table="wte", final_norm="ln_f")


FAMILY = Family(model_types=("exaone",), read=read, title="EXAONE 3")
