"""OPT: learned positions, biases everywhere, a plain MLP; the smallest but one embeds in a narrower width."""

from ullage.architectures._decoder import Spelling, Widths, widths
from ullage.architectures._dense import attention, mlp, norms, stack
from ullage.domain.architecture import DenseFeedForward
from ullage.domain.checkpoint import Role, Tensor
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.formulas import tensors as block
from ullage.frozen import replace

_AT = "model.decoder"
_ROWS_BEFORE = 2  # the position table keeps two rows in front of the first position


def _before(size: Widths, embedded: int) -> tuple[Tensor, ...]:
    """The position table, and the way from the embedding's width to the model's and back."""
    table = block.weight(f"{_AT}.embed_positions.weight", Role.POSITION, None, (size.positions + _ROWS_BEFORE, size.hidden), size.fmt)
    if embedded == size.hidden:
        return (table,)
    return (
        table,
        *block.linear(f"{_AT}.project_in", Role.OTHER, None, size.hidden, embedded, size.fmt),
        *block.linear(f"{_AT}.project_out", Role.OTHER, None, embedded, size.hidden, size.fmt),
    )


def read(config: Hyperparameters) -> Blueprint:
    """The last norm is there where norms stand before the blocks."""
    size = widths(config, tied=True, positions=2048, spelling=Spelling(kv_heads=()))
    width = config.integer("ffn_dim")
    embedded = config.integer_or("word_embed_proj_dim", size.hidden, low=1)
    bias = config.flag("enable_bias", default=True)
    config.must_be("layer_norm_elementwise_affine", True)
    config.ignore("layerdrop", "init_std")
    last = config.flag("do_layer_norm_before", default=True) and not config.flag("_remove_final_layer_norm", default=False)

    def parts(at: str, index: int) -> tuple[Tensor, ...]:
        return (
            *attention(f"{at}.self_attn", index, size, qkv_bias=bias, out_bias=bias, out_name="out_proj"),
            *mlp(at, index, size, width, bias=bias, ungated=("fc1", "fc2")),
            *norms(at, ("self_attn_layer_norm", "final_layer_norm"), index, size, bias=True),
        )

    model = stack(
        config,
        replace(size, hidden=embedded),
        f"{_AT}.layers",
        parts,
        DenseFeedForward(intermediate=width, gated=False),
        rotary_tables=(),
        prefix=_AT,
        final_norm=None,
        before=_before(size, embedded),
        after=block.norm(f"{_AT}.final_layer_norm", None, size.hidden, size.fmt, bias=True) if last else (),
    )
    return replace(model, architecture=replace(model.architecture, hidden_size=size.hidden))


FAMILY = Family(model_types=("opt",), read=read, title="OPT")
