"""Qwen3-Next: three gated delta nets to one gated attention layer, many small experts."""

from ullage.architectures._decoder import decoder, widths
from ullage.architectures._experts import Attending, Built, dense, pre_norm
from ullage.architectures._gated_delta import delta_layer, drafts, gated_attention, gated_delta, gated_mixture, kinds
from ullage.architectures._qwen_experts import mixture, routing_layers
from ullage.architectures._rotary import rotary, rotary_dim
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters


def read(config: Hyperparameters) -> Blueprint:
    """The configuration names no draft layers; the published checkpoints have one, counted where the file says so."""
    config.must_be("use_sliding_window", False)
    size = widths(config, kv_heads=2, head_dim=256, dtype="bfloat16")
    bias = config.flag("attention_bias", default=False)
    delta = gated_delta(config, fused=True)
    each = kinds(config, size.layers)
    experts = mixture(config, shared=config.integer_or("shared_expert_intermediate_size", 512, low=1))
    routes = routing_layers(config, size.layers)
    intermediate = config.integer_or("intermediate_size", 5632, low=1)

    def attending(at: str, index: int, kind: str) -> Attending:
        if kind == "linear":
            return delta_layer(f"{at}.linear_attn", index, size, delta)
        return gated_attention(f"{at}.self_attn", index, size, bias=bias)

    def built(at: str, index: int, kind: str, *, routes_here: bool) -> Built:
        mlp = f"{at}.mlp"
        feeding = gated_mixture(mlp, index, size, experts) if routes_here else dense(mlp, index, size, intermediate)
        return pre_norm(at, index, size, attending(at, index, kind), feeding)

    def layer(index: int) -> Built:
        return built(f"model.layers.{index}", index, each[index], routes_here=index in routes)

    draft = built("mtp.layers.0", 0, "full", routes_here=bool(routes))
    return decoder(
        config,
        size,
        layer=layer,
        rotary_tables=rotary(config, rotary_dim(config, size.head_dim, 0.25)),
        after=drafts(config.integer_or("num_nextn_predict_layers", 0), size, draft),
    )


FAMILY = Family(model_types=("qwen3_next",), read=read, title="Qwen3-Next")
