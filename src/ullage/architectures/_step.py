"""The text decoder of Step 3.5 and 3.7: windows and full layers with a gate for each head, experts after the first layers, drafts."""

from typing import Final

from ullage.architectures._decoder import Spelling, Widths, decoder, widths
from ullage.architectures._dense import attention, full, qk_norms, sliding
from ullage.architectures._drafts import next_token_layers
from ullage.architectures._experts import Mixture
from ullage.architectures._rotary import rotary
from ullage.domain.architecture import DenseFeedForward, FeedForward, Layer
from ullage.domain.checkpoint import Role, Tensor
from ullage.domain.family import Blueprint
from ullage.domain.hyperparameters import Hyperparameters
from ullage.errors import MalformedFileError, UnsupportedModelError
from ullage.formulas import tensors as block
from ullage.frozen import dataclass, replace

_SPELLING: Final = Spelling(kv_heads=("num_key_value_heads", "num_attention_groups"))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Text:
    """The text configuration, read once; ``windowed`` is the size with the heads that sliding layers have."""

    size: Widths
    windowed: Widths
    kinds: tuple[str, ...]  # drafts after the decoder's layers may be listed too
    window: int
    intermediate: int
    sparse: frozenset[int]
    mixture: Mixture


def _read_text(config: Hyperparameters, size: Widths) -> _Text:
    experts = config.first_integer("n_routed_experts", "num_experts", "moe_num_experts", "num_local_experts")
    if config.has("layer_types"):
        config.words("layer_types", length=size.layers)  # refused when too short; what follows is the drafts'
    kinds = config.words("layer_types") if config.has("layer_types") else ("full_attention",)
    config.ignore(
        "sliding_window", "n_shared_experts", "use_moe_router_bias", "moe_router_scaling_factor", "swiglu_limits", "swiglu_limits_shared"
    )
    config.must_be("attention_bias", False)
    config.must_be("mlp_bias", False)
    return _Text(
        size=size,
        windowed=_windowed(config, size),
        kinds=kinds,
        window=config.integer("sliding_window") if "sliding_attention" in kinds else 0,
        intermediate=config.integer("intermediate_size"),
        sparse=_sparse_layers(config, size.layers),
        mixture=Mixture(
            experts=experts,
            per_token=config.first_integer("num_experts_per_tok", "moe_top_k"),
            intermediate=config.integer("moe_intermediate_size"),
            shared=config.first_integer("share_expert_dim", "share_expert_dims"),
        ),
    )


def _sparse_layers(config: Hyperparameters, layers: int) -> frozenset[int]:
    """The layers that route: listed by kind or by number, or all after the first ones."""
    dense = config.integer_or("first_k_dense_replace", 3)
    listed = config.text_or("moe_layers_enum", "")
    if config.has("mlp_layer_types"):
        return frozenset(index for index, kind in enumerate(config.words("mlp_layer_types", length=layers)) if kind == "sparse")
    return _listed_layers(listed) if listed else frozenset(range(dense, layers))


def _listed_layers(text: str) -> frozenset[int]:
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() for word in words):
        raise MalformedFileError(f"moe_layers_enum should be layer numbers with commas between, but is {text[:40]!r}")
    return frozenset(int(word) for word in words)


def _windowed(config: Hyperparameters, size: Widths) -> Widths:
    other = config.child_or_none("attention_other_setting")
    if other is None:
        config.ignore("per_layer_config")  # repeats the heads of the sliding layers
        return replace(size, query_heads=config.integer_or("num_sliding_attention_heads", size.query_heads, low=1))
    other.ignore("attention_type")
    return replace(
        size,
        query_heads=other.integer_or("num_attention_heads", size.query_heads, low=1),
        kv_heads=other.integer_or("num_attention_groups", size.kv_heads, low=1),
        head_dim=other.integer_or("head_dim", size.head_dim, low=1),
    )


def _feed(text: _Text, at: str, index: int) -> tuple[FeedForward, tuple[Tensor, ...]]:
    """Router, one stacked tensor for each of gate, up and down, and the shared expert; or a plain MLP."""
    size, mixture = text.size, text.mixture
    if index not in text.sparse:
        mlp = block.gated_mlp(f"{at}.mlp", index, size.fmt, hidden=size.hidden, intermediate=text.intermediate)
        return DenseFeedForward(intermediate=text.intermediate), mlp
    width, copies = mixture.intermediate, mixture.experts
    return mixture.outline, (
        *block.linear(f"{at}.moe.gate", Role.ROUTER, index, copies, size.hidden, size.fmt),
        *block.linear(f"{at}.moe.gate_proj", Role.EXPERT_GATE, index, width, size.hidden, size.fmt, copies=copies),
        *block.linear(f"{at}.moe.up_proj", Role.EXPERT_UP, index, width, size.hidden, size.fmt, copies=copies),
        *block.linear(f"{at}.moe.down_proj", Role.EXPERT_DOWN, index, size.hidden, width, size.fmt, copies=copies),
        *block.shared_expert(f"{at}.share_expert", index, size.fmt, hidden=size.hidden, intermediate=mixture.shared),
    )


def _layer(text: _Text, index: int) -> tuple[Layer, tuple[Tensor, ...]]:
    at = f"model.layers.{index}"
    kind = text.kinds[min(index, len(text.kinds) - 1)]
    slides = kind == "sliding_attention"
    if not slides and kind != "full_attention":
        raise UnsupportedModelError(f"layer_types names {kind!r}; only full_attention and sliding_attention are known for this family")
    size = text.windowed if slides else text.size
    feed_forward, fed = _feed(text, at, index)
    attn = f"{at}.self_attn"
    return Layer(mixers=(sliding(size, text.window) if slides else full(size),), feed_forward=feed_forward), (
        *attention(attn, index, size),
        *qk_norms(attn, index, size, "head"),
        *block.linear(f"{attn}.g_proj", Role.ATTENTION_OTHER, index, size.query_heads, size.hidden, size.fmt),
        *fed,
        *block.norm(f"{at}.input_layernorm", index, size.hidden, size.fmt),
        *block.norm(f"{at}.post_attention_layernorm", index, size.hidden, size.fmt),
    )


def step_widths(config: Hyperparameters) -> Widths:
    """Its widths; no file was published in another dtype than bfloat16."""
    return widths(config, head_dim=128, kv_heads=8, positions=128_000, dtype="bfloat16", spelling=_SPELLING)


def step_text(config: Hyperparameters, size: Widths) -> Blueprint:
    """The decoder of these widths."""
    text = _read_text(config, size)
    drafts = next_token_layers(
        config.integer_or("num_nextn_predict_layers", 0), text.size, lambda index: _layer(text, index), own_head=True
    )
    tables = rotary(config, text.size.head_dim, text.size.positions)
    return decoder(config, text.size, layer=lambda index: _layer(text, index), rotary_tables=tables, after=drafts)
