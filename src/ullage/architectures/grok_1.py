"""Grok 1 and 2: four norms a layer; Grok 2 adds a dense MLP beside the experts."""

from ullage.architectures._decoder import decoder, rotary, widths
from ullage.architectures._experts import Built, Mixture, grouped, routed
from ullage.domain.architecture import ExpertFeedForward, Layer
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.formulas import tensors as block
from ullage.frozen import replace

NORMS = ("pre_attn_norm", "post_attn_norm", "pre_moe_norm", "post_moe_norm")


def read(config: Hyperparameters) -> Blueprint:
    """Names as the released checkpoint of Grok 2 has them."""
    size = widths(config, head_dim=128, dtype="bfloat16")
    config.ignore("router_logit_softcapping", "attn_temperature_len", "embedding_multiplier_scale", "output_multiplier_scale")
    beside = config.integer("intermediate_size") if config.flag("residual_moe", default=False) else 0
    mixture = Mixture(
        experts=config.integer("num_local_experts"),
        per_token=config.integer("num_experts_per_tok"),
        intermediate=config.first_integer("moe_intermediate_size", "intermediate_size"),
        names=block.NUMBERED,
    )

    def layer(index: int) -> Built:
        at = f"model.layers.{index}"
        mixer, attention = grouped(f"{at}.self_attn", index, size)
        outline, experts = routed(f"{at}.block_sparse_moe", index, size, mixture)
        mlp = block.shared_expert(f"{at}.mlp", index, size.fmt, hidden=size.hidden, intermediate=beside) if beside else ()
        norms = (tensor for name in NORMS for tensor in block.norm(f"{at}.{name}", index, size.hidden, size.fmt))
        feed_forward = replace(outline, shared_intermediate=beside) if isinstance(outline, ExpertFeedForward) else outline
        return Layer(mixers=(mixer,), feed_forward=feed_forward), (*attention, *experts, *mlp, *norms)

    return decoder(config, size, layer=layer, rotary_tables=rotary(config, size.head_dim))


FAMILY = Family(model_types=("grok-1",), read=read, title="Grok 1 and 2")
