"""T5 and T0: an encoder and a decoder that reads it, with relative positions."""

from ullage.architectures._decoder import Spelling, Widths, decoder, widths
from ullage.architectures._dense import full
from ullage.domain.architecture import CrossAttention, DenseFeedForward, Layer
from ullage.domain.checkpoint import Role, Tensor
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.errors import UnsupportedModelError
from ullage.formulas import tensors as block
from ullage.frozen import replace

_SPELLING = Spelling(
    hidden=("d_model", "hidden_size"),
    layers=("num_layers", "num_hidden_layers"),
    heads=("num_heads", "num_attention_heads"),
    kv_heads=(),
    head_dim=("d_kv", "head_dim"),
    positions=("n_positions",),
)
_TRAINED_TOKENS = 512  # relative positions set no bound; this is the length T5 was trained with


def _attention(at: str, index: int | None, size: Widths, *, buckets: int = 0) -> tuple[Tensor, ...]:
    """Four projections under one letter each, and the table of relative positions where ``buckets`` is not 0."""
    inner = size.query_heads * size.head_dim
    into = (("q", Role.Q), ("k", Role.K), ("v", Role.V))
    table = block.weight(f"{at}.relative_attention_bias.weight", Role.POSITION, index, (buckets, size.query_heads), size.fmt)
    return (
        *(tensor for name, role in into for tensor in block.linear(f"{at}.{name}", role, index, inner, size.hidden, size.fmt)),
        *block.linear(f"{at}.o", Role.O, index, size.hidden, inner, size.fmt),
        *((table,) if buckets else ()),
    )


def _mlp(at: str, index: int | None, size: Widths, outline: DenseFeedForward) -> tuple[Tensor, ...]:
    """``wi`` goes up, or ``wi_0`` gates and ``wi_1`` goes up; ``wo`` comes down."""
    into = (("wi_0", Role.GATE), ("wi_1", Role.UP)) if outline.gated else (("wi", Role.UP),)
    width = outline.intermediate
    return (
        *(tensor for name, role in into for tensor in block.linear(f"{at}.{name}", role, index, width, size.hidden, size.fmt)),
        *block.linear(f"{at}.wo", Role.DOWN, index, size.hidden, width, size.fmt),
    )


def _block(at: str, index: int | None, size: Widths, outline: DenseFeedForward, *, buckets: int, crosses: bool) -> tuple[Tensor, ...]:
    """Attention, attention over the encoder where ``crosses``, and the MLP, each with its norm."""
    last = 1 + crosses
    return (
        *_attention(f"{at}.layer.0.SelfAttention", index, size, buckets=buckets),
        *(_attention(f"{at}.layer.1.EncDecAttention", index, size) if crosses else ()),
        *_mlp(f"{at}.layer.{last}.DenseReluDense", index, size, outline),
        *(tensor for part in range(last + 1) for tensor in block.norm(f"{at}.layer.{part}.layer_norm", index, size.hidden, size.fmt)),
    )


def _outline(config: Hyperparameters) -> DenseFeedForward:
    projection = config.text_or("feed_forward_proj", "relu")
    gate, _, function = projection.rpartition("-")
    if gate not in {"", "gated"} or not function:
        raise UnsupportedModelError(f"feed_forward_proj is {projection!r}; only a function's name or gated- and a name are known")
    return DenseFeedForward(intermediate=config.integer("d_ff"), gated=gate == "gated")


def read(config: Hyperparameters) -> Blueprint:
    """The head is always the token table: ``tie_word_embeddings`` says only whether its input is scaled."""
    size = replace(widths(config, head_dim=64, spelling=_SPELLING), tied=True)
    outline = _outline(config)
    buckets = config.integer_or("relative_attention_num_buckets", 32)
    config.ignore("relative_attention_max_distance")
    source = CrossAttention(
        query_heads=size.query_heads,
        kv_heads=size.kv_heads,
        key_dim=size.head_dim,
        value_dim=size.head_dim,
        source_tokens=size.positions or _TRAINED_TOKENS,
    )

    def first(index: int) -> int:
        return 0 if index else buckets

    def layer(index: int) -> tuple[Layer, tuple[Tensor, ...]]:
        tensors = _block(f"decoder.block.{index}", index, size, outline, buckets=first(index), crosses=True)
        return Layer(mixers=(full(size), source), feed_forward=outline), tensors

    blocks = (_block(f"encoder.block.{i}", None, size, outline, buckets=first(i), crosses=False) for i in range(size.layers))
    encoder = (*(tensor for each in blocks for tensor in each), *block.norm("encoder.final_layer_norm", None, size.hidden, size.fmt))
    below = replace(size, layers=config.integer_or("num_decoder_layers", size.layers, low=1))
    return decoder(config, below, layer=layer, prefix="", table="shared", final_norm="decoder.final_layer_norm", before=encoder)


FAMILY = Family(model_types=("t5",), read=read, title="T5, T0, Flan-T5")
