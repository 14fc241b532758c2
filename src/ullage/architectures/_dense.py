"""A dense decoder with separate projections, and the places where Llama's many relatives differ from it."""

from collections.abc import Callable, Iterable
from typing import Literal, TypedDict, Unpack

from ullage.architectures._decoder import Widths, decoder
from ullage.architectures._rotary import rotary
from ullage.domain.architecture import DenseFeedForward, DualChunk, FullAttention, Layer, Mixer, RotaryTable, SlidingAttention
from ullage.domain.checkpoint import Role, Tensor
from ullage.domain.family import Blueprint
from ullage.domain.hyperparameters import Hyperparameters
from ullage.errors import UnsupportedModelError
from ullage.formulas import tensors as block

PRE_NORMS = ("input_layernorm", "post_attention_layernorm")
POST_NORMS = ("post_attention_layernorm", "post_feedforward_layernorm")
FOUR_NORMS = ("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm")


class Outside(TypedDict, total=False):
    """What ``decoder`` is told of the parts outside the layers."""

    prefix: str
    table: str
    final_norm: str | None
    head_name: str
    before: tuple[Tensor, ...]
    after: tuple[Tensor, ...]
    norm_bias: bool
    head_bias: bool


def full(size: Widths, *, dual_chunk: DualChunk | None = None) -> FullAttention:
    """Attention over every past token."""
    return FullAttention(
        query_heads=size.query_heads,
        kv_heads=size.kv_heads,
        key_dim=size.head_dim,
        value_dim=size.head_dim,
        dual_chunk=dual_chunk,
    )


def sliding(size: Widths, window_tokens: int) -> SlidingAttention:
    """Attention over the last ``window_tokens`` tokens."""
    return SlidingAttention(
        query_heads=size.query_heads,
        kv_heads=size.kv_heads,
        key_dim=size.head_dim,
        value_dim=size.head_dim,
        window_tokens=window_tokens,
    )


def all_alike(size: Widths, window_tokens: int | None) -> tuple[Mixer, ...]:
    """Every layer windowed, or every layer full where the family sets no window."""
    return (sliding(size, window_tokens) if window_tokens else full(size),) * size.layers


def by_type(config: Hyperparameters, size: Widths, window_tokens: int | None, kinds: Iterable[str]) -> tuple[Mixer, ...]:
    """One mixer for each layer, from ``layer_types`` or from the family's own rule ``kinds``."""
    words = config.words("layer_types", length=size.layers) if config.has("layer_types") else tuple(kinds)
    return tuple(_of_kind(word, size, window_tokens) for word in words)


def _of_kind(word: str, size: Widths, window_tokens: int | None) -> Mixer:
    match word:
        case "full_attention":
            return full(size)
        case "sliding_attention" if window_tokens:
            return sliding(size, window_tokens)
        case "sliding_attention":
            raise UnsupportedModelError("layer_types names sliding_attention, but the configuration has no sliding_window")
        case _:
            raise UnsupportedModelError(f"layer_types names {word!r}; only full_attention and sliding_attention are known for this family")


def every(period: int, layers: int) -> tuple[str, ...]:
    """Sliding layers with a full one as the last of each ``period``."""
    return tuple("sliding_attention" if (index + 1) % period else "full_attention" for index in range(layers))


def window(config: Hyperparameters, default: int | None = None) -> int | None:
    """``sliding_window``; a null says that there is none, only a missing key takes the family's default."""
    return (config.integer_or("sliding_window", 0) or None) if config.states("sliding_window") else default


def qk_norms(at: str, index: int, size: Widths, kind: Literal["", "head", "heads"]) -> tuple[Tensor, ...]:
    """Norms of queries and keys: none, one of a head's width, or one over all heads."""
    if not kind:
        return ()
    query = size.head_dim if kind == "head" else size.query_heads * size.head_dim
    key = size.head_dim if kind == "head" else size.kv_heads * size.head_dim
    return (*block.norm(f"{at}.q_norm", index, query, size.fmt), *block.norm(f"{at}.k_norm", index, key, size.fmt))


def attention(
    at: str, index: int, size: Widths, *, qkv_bias: bool = False, out_bias: bool = False, out_name: str = "o_proj"
) -> tuple[Tensor, ...]:
    """The four projections of a layer of the model's usual widths."""
    return block.attention(
        at,
        index,
        size.fmt,
        hidden=size.hidden,
        query_heads=size.query_heads,
        kv_heads=size.kv_heads,
        key_dim=size.head_dim,
        qkv_bias=qkv_bias,
        out_bias=out_bias,
        out_name=out_name,
    )


def mlp(
    at: str, index: int, size: Widths, intermediate: int, *, bias: bool = False, ungated: tuple[str, str] | None = None
) -> tuple[Tensor, ...]:
    """Gate, up and down, or the two matrices that ``ungated`` names."""
    if ungated is None:
        return block.gated_mlp(at, index, size.fmt, hidden=size.hidden, intermediate=intermediate, bias=bias)
    up, down = (f"{at}.{name}" for name in ungated)
    return block.mlp(up, down, index, size.fmt, hidden=size.hidden, intermediate=intermediate, bias=bias)


def fused_qkv(name: str, index: int, size: Widths, *, bias: bool = False) -> tuple[Tensor, ...]:
    """Queries, keys and values in one matrix."""
    rows = (size.query_heads + 2 * size.kv_heads) * size.head_dim
    return block.linear(name, Role.QKV, index, rows, size.hidden, size.fmt, bias=bias)


def output(name: str, index: int, size: Widths, *, bias: bool = False) -> tuple[Tensor, ...]:
    """The output projection of attention."""
    return block.linear(name, Role.O, index, size.hidden, size.query_heads * size.head_dim, size.fmt, bias=bias)


def fused_mlp(names: tuple[str, str], index: int, size: Widths, intermediate: int, *, bias: bool = False) -> tuple[Tensor, ...]:
    """Gate and up in one matrix, and down, named in full."""
    return (
        *block.linear(names[0], Role.GATE_UP, index, 2 * intermediate, size.hidden, size.fmt, bias=bias),
        *block.linear(names[1], Role.DOWN, index, size.hidden, intermediate, size.fmt, bias=bias),
    )


def norms(at: str, names: Iterable[str], index: int, size: Widths, *, bias: bool = False) -> tuple[Tensor, ...]:
    """The norms of a layer, of the model's width."""
    return tuple(tensor for name in names for tensor in block.norm(f"{at}.{name}", index, size.hidden, size.fmt, bias=bias))


def stack(
    config: Hyperparameters,
    size: Widths,
    layers: str,
    parts: Callable[[str, int], tuple[Tensor, ...]],
    feed_forward: DenseFeedForward,
    *,
    mixers: tuple[Mixer, ...] | None = None,
    rotary_tables: tuple[RotaryTable, ...] | None = None,
    **outside: Unpack[Outside],
) -> Blueprint:
    """Layers called ``layers`` and a number, each with the tensors ``parts(name, number)``; rotary over whole heads unless said."""
    each = mixers or all_alike(size, None)

    def layer(index: int) -> tuple[Layer, tuple[Tensor, ...]]:
        return Layer(mixers=(each[index],), feed_forward=feed_forward), parts(f"{layers}.{index}", index)

    tables = rotary(config, size.head_dim, size.positions) if rotary_tables is None else rotary_tables
    return decoder(config, size, layer=layer, rotary_tables=tables, **outside)


def dense(  # noqa: PLR0913 - each argument is one way in which relatives of Llama differ
    config: Hyperparameters,
    size: Widths,
    *,
    intermediate: int | None = None,
    mixers: tuple[Mixer, ...] | None = None,
    qkv_bias: bool = False,
    out_bias: bool = False,
    mlp_bias: bool = False,
    ungated: tuple[str, str] | None = None,
    layer_norms: tuple[str, ...] = PRE_NORMS,
    qk_norm: Literal["", "head", "heads"] = "",
    rotary_tables: tuple[RotaryTable, ...] | None = None,
    **outside: Unpack[Outside],
) -> Blueprint:
    """Full attention and a gated MLP in every layer unless said otherwise; ``ungated`` names the two matrices of a plain MLP."""
    width = intermediate or config.integer("intermediate_size")
    norm_bias = outside.get("norm_bias", False)

    def parts(at: str, index: int) -> tuple[Tensor, ...]:
        return (
            *attention(f"{at}.self_attn", index, size, qkv_bias=qkv_bias, out_bias=out_bias),
            *qk_norms(f"{at}.self_attn", index, size, qk_norm),
            *mlp(f"{at}.mlp", index, size, width, bias=mlp_bias, ungated=ungated),
            *norms(at, layer_norms, index, size, bias=norm_bias),
        )

    feed_forward = DenseFeedForward(intermediate=width, gated=ungated is None)
    return stack(config, size, "model.layers", parts, feed_forward, mixers=mixers, rotary_tables=rotary_tables, **outside)
