"""Llama Nemotron (DeciLM): a Llama whose layers a search has thinned out, each in its own way."""

from ullage.architectures._decoder import Widths, decoder, rotary, widths
from ullage.architectures._dense import attention, full, mlp, sliding
from ullage.domain.architecture import DenseFeedForward, FeedForward, Layer, Mixer
from ullage.domain.checkpoint import Role, Tensor
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.errors import MalformedFileError
from ullage.formulas import tensors as block
from ullage.frozen import replace

_MULTIPLE = 256  # MLP widths are rounded up to it


def _attention(at: str, index: int, size: Widths, own: Hyperparameters) -> tuple[tuple[Mixer, ...], tuple[Tensor, ...]]:
    """Grouped attention, one matrix in its place, or nothing at all."""
    own.must_be("sparsify", None)
    own.must_be("num_sink_tokens", None)
    own.ignore("n_heads_in_group", "replace_with_linear", "unshifted_sink", "use_prefill_window_in_sink_attention", "window_length")
    if own.flag("no_op", default=False):
        return (), ()
    norm = block.norm(f"{at}.input_layernorm", index, size.hidden, size.fmt)
    if own.flag("replace_with_linear", default=False):
        return (), (*block.linear(f"{at}.self_attn.linear_attn", Role.ATTENTION_OTHER, index, size.hidden, size.hidden, size.fmt), *norm)
    group = own.integer("n_heads_in_group")
    if size.query_heads % group:
        raise MalformedFileError(f"n_heads_in_group of layer {index} is {group}, which does not divide {size.query_heads} heads")
    here = replace(size, kv_heads=size.query_heads // group)
    window_tokens = own.integer_or("window_length", 0)
    mixer = sliding(here, window_tokens) if window_tokens else full(here)
    return (mixer,), (*attention(f"{at}.self_attn", index, here), *norm)


def _feed_forward(at: str, index: int, size: Widths, own: Hyperparameters) -> tuple[FeedForward | None, tuple[Tensor, ...]]:
    """A gated MLP of its own width, one matrix in its place, or nothing at all."""
    own.must_be("sparsify", None)
    own.ignore("ffn_mult", "replace_with_linear")
    if own.flag("no_op", default=False):
        return None, ()
    norm = block.norm(f"{at}.post_attention_layernorm", index, size.hidden, size.fmt)
    if own.flag("replace_with_linear", default=False):
        return None, (*block.linear(f"{at}.mlp.linear_mlp", Role.OTHER, index, size.hidden, size.hidden, size.fmt), *norm)
    width = int(2 * own.number("ffn_mult") * size.hidden / 3)
    if width < 1:
        raise MalformedFileError(f"ffn_mult of layer {index} leaves the MLP no width")
    width += -width % _MULTIPLE
    return DenseFeedForward(intermediate=width), (*mlp(f"{at}.mlp", index, size, width), *norm)


def read(config: Hyperparameters) -> Blueprint:
    """``block_configs`` describes every layer."""
    size = widths(config, positions=2048)
    config.must_be("attention_bias", False)
    config.must_be("mlp_bias", False)
    blocks = config.children("block_configs", length=size.layers)

    def layer(index: int) -> tuple[Layer, tuple[Tensor, ...]]:
        at = f"model.layers.{index}"
        mixers, attending = _attention(at, index, size, blocks[index].child("attention"))
        feed_forward, feeding = _feed_forward(at, index, size, blocks[index].child("ffn"))
        return Layer(mixers=mixers, feed_forward=feed_forward), (*attending, *feeding)

    return decoder(config, size, layer=layer, rotary_tables=rotary(config, size.head_dim, size.positions))


FAMILY = Family(model_types=("nemotron-nas",), read=read, title="Llama Nemotron Super and Ultra, DeciLM")
