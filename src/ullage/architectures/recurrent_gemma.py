"""RecurrentGemma: gated linear recurrences with windowed attention in every third layer."""

from ullage.architectures._decoder import Widths, decoder, widths
from ullage.architectures._dense import attention, sliding
from ullage.architectures._experts import Attending, Built
from ullage.architectures._recurrent import convolution
from ullage.architectures._rotary import rotary, rotary_dim
from ullage.domain.architecture import DenseFeedForward, Layer, Recurrent
from ullage.domain.checkpoint import Role
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.errors import UnsupportedModelError
from ullage.formulas import tensors as block


def read(config: Hyperparameters) -> Blueprint:
    """``block_types`` repeats over the layers; ``intermediate_size`` counts gate and up together. The file states no length."""
    config.ignore("logits_soft_cap", "w_init_variance_scale", "final_w_init_variance_scale", "embeddings_scale_by_sqrt_dim", "_block_types")
    size = widths(config, tied=True, vocab=256000, dtype="bfloat16")
    window_tokens = config.integer_or("attention_window_size", 2048, low=1)
    lru_width = config.integer_or("lru_width", size.hidden, low=1)
    kernel = config.integer_or("conv1d_width", 4, low=1)
    intermediate = config.integer_or("intermediate_size", 3 * size.hidden, low=2) // 2
    bias = config.flag("attention_bias", default=False)
    kinds = config.words("block_types") if config.has("block_types") else ("recurrent", "recurrent", "attention")
    if not set(kinds) <= {"recurrent", "attention"} or not kinds:
        raise UnsupportedModelError(f"block_types is {list(kinds)}; only recurrent and attention are known for this family")

    def layer(index: int) -> Built:
        at = f"model.layers.{index}"
        own = f"{at}.temporal_block"
        mixer, mixing = (
            (sliding(size, window_tokens), attention(own, index, size, qkv_bias=bias, out_bias=True))
            if kinds[index % len(kinds)] == "attention"
            else _recurrence(own, index, size, lru_width, kernel=kernel)
        )
        return Layer(mixers=(mixer,), feed_forward=DenseFeedForward(intermediate=intermediate)), (
            *mixing,
            *block.gated_mlp(f"{at}.mlp_block", index, size.fmt, hidden=size.hidden, intermediate=intermediate, bias=True),
            *block.norm(f"{at}.temporal_pre_norm", index, size.hidden, size.fmt),
            *block.norm(f"{at}.channel_pre_norm", index, size.hidden, size.fmt),
        )

    tables = rotary(config, rotary_dim(config, size.head_dim, 0.5), size.positions)
    return decoder(config, size, layer=layer, rotary_tables=tables, final_norm="final_norm")


def _recurrence(at: str, index: int, size: Widths, width: int, *, kernel: int) -> Attending:
    """One number per channel is kept; its two gates are block-diagonal, one block for each attention head."""
    heads, share = size.query_heads, width // size.query_heads
    mixer = Recurrent(kind="rg_lru", heads=heads, conv_elements=(kernel - 1) * width, state_elements=width, inner_dim=width)
    gates = (
        tensor
        for name in ("input_gate", "recurrent_gate")
        for tensor in (
            block.weight(f"{at}.rg_lru.{name}_weight", Role.RECURRENT_STATE, index, (heads, share, share), size.fmt),
            block.weight(f"{at}.rg_lru.{name}_bias", Role.RECURRENT_STATE, index, (heads, share), size.fmt),
        )
    )
    return mixer, (
        *block.linear(f"{at}.linear_y", Role.RECURRENT_IN, index, width, size.hidden, size.fmt, bias=True),
        *block.linear(f"{at}.linear_x", Role.RECURRENT_IN, index, width, size.hidden, size.fmt, bias=True),
        *block.linear(f"{at}.linear_out", Role.RECURRENT_OUT, index, size.hidden, width, size.fmt, bias=True),
        *convolution(f"{at}.conv_1d", index, size.fmt, channels=width, kernel=kernel, bias=True),
        block.weight(f"{at}.rg_lru.recurrent_param", Role.RECURRENT_STATE, index, (width,), size.fmt),
        *gates,
    )


FAMILY = Family(model_types=("recurrent_gemma",), read=read, title="RecurrentGemma")
