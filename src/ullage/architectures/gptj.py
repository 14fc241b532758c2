"""GPT-J: separate projections without biases, attention and MLP side by side, a head with a bias."""

from ullage.architectures._decoder import GPT, widths
from ullage.architectures._dense import attention, mlp, norms, stack
from ullage.architectures._rotary import rotary
from ullage.domain.architecture import DenseFeedForward
from ullage.domain.checkpoint import Tensor
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters


def read(config: Hyperparameters) -> Blueprint:
    """``rotary_dim`` elements of each head are rotated."""
    size = widths(config, positions=2048, spelling=GPT)
    width = config.integer_or("n_inner", 4 * size.hidden, low=1)
    config.must_be("rotary", True)

    def parts(at: str, index: int) -> tuple[Tensor, ...]:
        return (
            *attention(f"{at}.attn", index, size, out_name="out_proj"),
            *mlp(f"{at}.mlp", index, size, width, bias=True, ungated=("fc_in", "fc_out")),
            *norms(at, ("ln_1",), index, size, bias=True),
        )

    return stack(
        config,
        size,
        "transformer.h",
        parts,
        DenseFeedForward(intermediate=width, gated=False),
        rotary_tables=rotary(config, config.integer_or("rotary_dim", 64), size.positions),
        prefix="transformer",
        table="wte",
        final_norm="ln_f",
        norm_bias=True,
        head_bias=True,
    )


FAMILY = Family(model_types=("gptj",), read=read, title="GPT-J")
