"""Step 3.5 and the text decoder of Step 3.7: windows with their own head count, a gate on each head, stacked experts."""

from ullage.architectures._decoder import Spelling, Widths, decoder, widths
from ullage.architectures._drafts import next_token_layers
from ullage.architectures._experts import Attending, Built, Feeding, dense, grouped, pre_norm
from ullage.architectures._rotary import rotary
from ullage.domain.architecture import ExpertFeedForward
from ullage.domain.checkpoint import Role, Tensor
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.formulas import tensors as block

SPELLING = Spelling(kv_heads=("num_key_value_heads", "num_attention_groups"))
SLIDING = "sliding_attention"


def read(config: Hyperparameters) -> Blueprint:
    """Lists of layers may go on into the draft layers that follow the decoder's."""
    size = widths(config, head_dim=128, dtype="bfloat16", spelling=SPELLING)
    drafts = config.integer_or("num_nextn_predict_layers", 0)
    kinds = config.words("layer_types") if config.has("layer_types") else ()
    window = config.integer("sliding_window") if SLIDING in kinds else config.integer_or("sliding_window", 0)
    other = config.child_or_none("attention_other_setting")
    heads = other.integer("num_attention_heads") if other else config.integer_or("num_sliding_attention_heads", size.query_heads, low=1)
    outline = _outline(config)
    routes = _routing_layers(config, size.layers)
    intermediate = config.integer("intermediate_size")
    config.ignore("moe_router_scaling_factor", "n_shared_experts", "use_moe_router_bias", "mtp_layer_types", "mtp_mlp_layer_types")
    config.must_be("attention_bias", False)

    def layer(index: int) -> Built:
        at = f"model.layers.{index}"
        windowed = index < len(kinds) and kinds[index] == SLIDING
        attending = _gated(
            f"{at}.self_attn", index, size, heads=heads if windowed else size.query_heads, window=window if windowed else None
        )
        feeding = _experts(at, index, size, outline) if index in routes else dense(f"{at}.mlp", index, size, intermediate)
        return pre_norm(at, index, size, attending, feeding)

    return decoder(
        config,
        size,
        layer=layer,
        rotary_tables=rotary(config, size.head_dim),
        after=next_token_layers(drafts, size, layer, own_head=True),
    )


def _outline(config: Hyperparameters) -> ExpertFeedForward:
    return ExpertFeedForward(
        experts=config.first_integer("n_routed_experts", "moe_num_experts", "num_experts"),
        experts_per_token=config.first_integer("num_experts_per_tok", "moe_top_k"),
        intermediate=config.integer("moe_intermediate_size"),
        shared_intermediate=config.first_integer("share_expert_dim", "share_expert_dims"),
    )


def _routing_layers(config: Hyperparameters, layers: int) -> frozenset[int]:
    """As listed, in one of two spellings, or all after the first three."""
    first = config.integer_or("first_k_dense_replace", 3)
    if config.has("mlp_layer_types"):
        return frozenset(index for index, kind in enumerate(config.words("mlp_layer_types")) if kind == "sparse")
    if config.has("moe_layers_enum"):
        raw = config.raw("moe_layers_enum")
        return frozenset(int(word) for word in raw.split(",")) if isinstance(raw, str) else frozenset(config.integers("moe_layers_enum"))
    return frozenset(range(first, layers))


def _gated(at: str, index: int, size: Widths, *, heads: int, window: int | None) -> Attending:
    """Attention whose heads are each scaled by a gate read from the layer's input."""
    mixer, tensors = grouped(at, index, size, query_heads=heads, window_tokens=window, head_norms=True)
    return mixer, (*tensors, *block.linear(f"{at}.g_proj", Role.ATTENTION_OTHER, index, heads, size.hidden, size.fmt))


def _experts(at: str, index: int, size: Widths, outline: ExpertFeedForward) -> Feeding:
    """All experts of a layer in three stacked tensors, which ``copies`` counts, and the shared one beside them."""

    def stacked(name: str, role: Role, rows: int, columns: int) -> Tensor:
        return block.weight(f"{at}.moe.{name}.weight", role, index, (rows, columns), size.fmt, copies=outline.experts)

    return outline, (
        *block.linear(f"{at}.moe.gate", Role.ROUTER, index, outline.experts, size.hidden, size.fmt),
        stacked("gate_proj", Role.EXPERT_GATE, outline.intermediate, size.hidden),
        stacked("up_proj", Role.EXPERT_UP, outline.intermediate, size.hidden),
        stacked("down_proj", Role.EXPERT_DOWN, size.hidden, outline.intermediate),
        *block.shared_expert(f"{at}.share_expert", index, size.fmt, hidden=size.hidden, intermediate=outline.shared_intermediate),
    )


FAMILY = Family(model_types=("step3p5",), read=read, title="Step 3.5 and the text of Step 3.7")
