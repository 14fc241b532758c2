"""Qwen3.5 and 3.6, dense and mixture: gated delta nets and gated attention, most with a vision tower."""

from typing import Final

from ullage.architectures._decoder import decoder, widths
from ullage.architectures._experts import Built, Feeding, Mixture, dense, pre_norm
from ullage.architectures._gated_delta import delta_layer, drafts, gated_attention, gated_delta, gated_mixture, kinds
from ullage.architectures._qwen_tower import IMAGE_TOKENS, qwen3_tower
from ullage.architectures._rotary import rotary, rotary_dim
from ullage.architectures._wrapped import part, text_format, text_part, wrapped
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters

_IDS: Final = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id", "language_model_only")


def read(config: Hyperparameters) -> Blueprint:
    """A decoder alone, or ``text_config`` beside ``vision_config``."""
    routes = "moe" in config.text("model_type")
    if not config.has("text_config"):
        return decode(config, routes=routes)
    config.ignore(*_IDS)
    text = decode(text_part(config), routes=routes)
    vision = part(config, "vision_config", {"deepstack_visual_indexes": []})
    vision.ignore("dtype", "torch_dtype")  # the tower is loaded in the text's
    tower = qwen3_tower(vision, text_format(text))
    return wrapped(config, text, rename=(("model.", "model.language_model."),), tower=tower, encoder_tokens=IMAGE_TOKENS)


def decode(config: Hyperparameters, *, routes: bool) -> Blueprint:
    """The text model; the state's dtype is the engine's choice, ``mamba_ssm_dtype`` only its default."""
    config.ignore("mamba_ssm_dtype", "mtp_use_dedicated_embeddings", "mlp_only_layers", "output_gate_type")
    config.must_be("attn_output_gate", True)
    size = widths(config, kv_heads=2 if routes else 4, head_dim=256, vocab=248320, dtype="bfloat16")
    bias = config.flag("attention_bias", default=False)
    delta = gated_delta(config, fused=False)
    each = kinds(config, size.layers)
    mixture = _mixture(config) if routes else None
    intermediate = config.integer_or("intermediate_size", 12288, low=1)

    def feeding(at: str, index: int) -> Feeding:
        return gated_mixture(at, index, size, mixture) if mixture else dense(at, index, size, intermediate)

    def built(at: str, index: int, kind: str) -> Built:
        attending = (
            delta_layer(f"{at}.linear_attn", index, size, delta)
            if kind == "linear"
            else gated_attention(f"{at}.self_attn", index, size, bias=bias)
        )
        return pre_norm(at, index, size, attending, feeding(f"{at}.mlp", index))

    return decoder(
        config,
        size,
        layer=lambda index: built(f"model.layers.{index}", index, each[index]),
        rotary_tables=rotary(config, rotary_dim(config, size.head_dim, 0.25), size.positions),
        after=drafts(config.integer_or("mtp_num_hidden_layers", 0), size, built("mtp.layers.0", 0, "full")),
    )


def _mixture(config: Hyperparameters) -> Mixture:
    return Mixture(
        experts=config.integer_or("num_experts", 256, low=1),
        per_token=config.integer_or("num_experts_per_tok", 8, low=1),
        intermediate=config.integer_or("moe_intermediate_size", 512, low=1),
        shared=config.integer_or("shared_expert_intermediate_size", 512, low=1),
        shared_name="shared_expert",
    )


FAMILY = Family(
    model_types=("qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text"),
    read=read,
    title="Qwen3.5 and Qwen3.6, dense and mixture of experts",
)
