"""What the mixture-of-experts families share: the routed block, grouped attention, and the layer around them."""

from ullage.architectures._decoder import Widths
from ullage.domain.architecture import DenseFeedForward, ExpertFeedForward, FeedForward, FullAttention, Layer, Mixer, SlidingAttention
from ullage.domain.checkpoint import Role, Tensor
from ullage.domain.hyperparameters import Hyperparameters
from ullage.formulas import tensors as block
from ullage.frozen import dataclass

Attending = tuple[Mixer, tuple[Tensor, ...]]
Feeding = tuple[FeedForward, tuple[Tensor, ...]]
Built = tuple[Layer, tuple[Tensor, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """How many experts a layer has, how many a token takes, and how wide they are.

    ``shared`` is the always active width; ``latent`` is what routed experts read and write where that is not the model's width.
    """

    experts: int
    per_token: int
    intermediate: int
    shared: int = 0
    latent: int | None = None
    shared_name: str = "shared_experts"
    names: tuple[str, str, str] = block.GATED

    @property
    def outline(self) -> ExpertFeedForward:
        """The layer's feed-forward part."""
        return ExpertFeedForward(
            experts=self.experts, experts_per_token=self.per_token, intermediate=self.intermediate, shared_intermediate=self.shared
        )


def numbered_mixture(config: Hyperparameters) -> Mixture:
    """Mixtral's spelling of the counts, and its names of the matrices."""
    return Mixture(
        experts=config.integer("num_local_experts"),
        per_token=config.integer_or("num_experts_per_tok", 2, low=1),
        intermediate=config.integer("intermediate_size"),
        names=block.NUMBERED,
    )


def routed(at: str, index: int, size: Widths, mixture: Mixture) -> Feeding:
    """Router, routed experts and the shared one. The routing bias is a buffer of 4 bytes an expert and no parameter."""
    shared = (
        block.shared_expert(f"{at}.{mixture.shared_name}", index, size.fmt, hidden=size.hidden, intermediate=mixture.shared)
        if mixture.shared
        else ()
    )
    return mixture.outline, (
        *block.linear(f"{at}.gate", Role.ROUTER, index, mixture.experts, size.hidden, size.fmt),
        *block.gated_experts(
            at,
            index,
            size.fmt,
            hidden=mixture.latent or size.hidden,
            intermediate=mixture.intermediate,
            experts=mixture.experts,
            names=mixture.names,
        ),
        *shared,
    )


def dense(at: str, index: int, size: Widths, intermediate: int, *, bias: bool = False) -> Feeding:
    """A plain gated MLP, as the first layers of most of these models have."""
    return (
        DenseFeedForward(intermediate=intermediate),
        block.gated_mlp(at, index, size.fmt, hidden=size.hidden, intermediate=intermediate, bias=bias),
    )


def grouped(  # noqa: PLR0913 - an attention block has this many facts
    at: str,
    index: int,
    size: Widths,
    *,
    query_heads: int | None = None,
    kv_heads: int | None = None,
    value_dim: int | None = None,
    window_tokens: int | None = None,
    qkv_bias: bool = False,
    out_bias: bool = False,
    head_norms: bool = False,
) -> Attending:
    """Grouped-query attention, over a window where there is one; ``head_norms`` are norms of each head's query and key."""
    queries, keys = query_heads or size.query_heads, kv_heads or size.kv_heads
    width = value_dim or size.head_dim
    norms = tuple(t for name in ("q_norm", "k_norm") for t in block.norm(f"{at}.{name}", index, size.head_dim, size.fmt) if head_norms)
    tensors = block.attention(
        at,
        index,
        size.fmt,
        hidden=size.hidden,
        query_heads=queries,
        kv_heads=keys,
        key_dim=size.head_dim,
        value_dim=width,
        qkv_bias=qkv_bias,
        out_bias=out_bias,
    )
    mixer: Mixer = (
        FullAttention(query_heads=queries, kv_heads=keys, key_dim=size.head_dim, value_dim=width)
        if window_tokens is None
        else SlidingAttention(query_heads=queries, kv_heads=keys, key_dim=size.head_dim, value_dim=width, window_tokens=window_tokens)
    )
    return mixer, (*tensors, *norms)


def pre_norm(at: str, index: int, size: Widths, attending: Attending, feeding: Feeding, *, norm_bias: bool = False) -> Built:
    """A layer with one norm before attention and one before the feed-forward part."""
    mixer, attention = attending
    feed_forward, mlp = feeding
    return Layer(mixers=(mixer,), feed_forward=feed_forward), (
        *attention,
        *mlp,
        *block.norm(f"{at}.input_layernorm", index, size.hidden, size.fmt, bias=norm_bias),
        *block.norm(f"{at}.post_attention_layernorm", index, size.hidden, size.fmt, bias=norm_bias),
    )
