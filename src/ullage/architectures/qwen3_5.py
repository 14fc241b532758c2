"""Qwen3.5 and 3.6, dense and mixture: gated delta nets and gated attention, most with a vision tower."""

from ullage.architectures import _gated_delta as net
from ullage.architectures._decoder import decoder, widths
from ullage.architectures._experts import Built, Feeding, dense, pre_norm
from ullage.architectures._rotary import rotary, rotary_dim
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters


def read(config: Hyperparameters) -> Blueprint:
    """Dense or a mixture, as the model type says."""
    routes = "moe" in config.text("model_type")
    return net.beside_tower(config, lambda text: decode(text, routes=routes))


def decode(config: Hyperparameters, *, routes: bool) -> Blueprint:
    """The text model."""
    config.ignore("mtp_use_dedicated_embeddings", "mlp_only_layers", "output_gate_type")
    config.must_be("attn_output_gate", True)
    size = widths(config, kv_heads=2 if routes else 4, head_dim=256, vocab=248320, dtype="bfloat16")
    bias = config.flag("attention_bias", default=False)
    delta = net.gated_delta(config, fused=False)
    each = net.kinds(config, size.layers)
    mixture = net.gated_experts_of(config, experts=256, per_token=8) if routes else None
    intermediate = config.integer_or("intermediate_size", 12288, low=1)

    def feeding(at: str, index: int) -> Feeding:
        return net.gated_mixture(at, index, size, mixture) if mixture else dense(at, index, size, intermediate)

    def built(at: str, index: int, kind: str) -> Built:
        attending = (
            net.delta_layer(f"{at}.linear_attn", index, size, delta)
            if kind == "linear"
            else net.gated_attention(f"{at}.self_attn", index, size, bias=bias)
        )
        return pre_norm(at, index, size, attending, feeding(f"{at}.mlp", index))

    return decoder(
        config,
        size,
        layer=lambda index: built(f"model.layers.{index}", index, each[index]),
        rotary_tables=rotary(config, rotary_dim(config, size.head_dim, 0.25), size.positions),
        after=net.drafts(config.integer_or("mtp_num_hidden_layers", 0), size, built("mtp.layers.0", 0, "full")),
    )


FAMILY = Family(
    model_types=("qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text"),
    read=read,
    title="Qwen3.5 and Qwen3.6, dense and mixture of experts",
)
