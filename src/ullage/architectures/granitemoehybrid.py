"""Granite 4: Mamba 2 and attention layers, each followed by routed experts, an always active one, or both."""

from ullage.architectures._decoder import decoder, rotary, widths
from ullage.architectures._dense import attention, full
from ullage.architectures._granite import experts, shared
from ullage.architectures._recurrent import layer_kinds, mamba2_of
from ullage.domain.architecture import DenseFeedForward, ExpertFeedForward, Layer
from ullage.domain.checkpoint import Tensor
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.formulas import tensors as block


def read(config: Hyperparameters) -> Blueprint:
    """Without ``layer_types`` all layers are Mamba 2; positions are rotary only where the file says "rope"."""
    config.ignore("normalization_function")
    size = widths(config, dtype="bfloat16")
    bias = config.flag("attention_bias", default=False)
    named = next((key for key in ("layer_types", "layers_block_type") if config.has(key)), None)
    kinds = layer_kinds(config, named, size.layers) if named else ("linear",) * size.layers
    feed_forward = _feed_forward(config)
    spec = mamba2_of(config, size.hidden)

    def layer(index: int) -> tuple[Layer, tuple[Tensor, ...]]:
        at = f"model.layers.{index}"
        attends = kinds[index] == "full"
        return Layer(mixers=(full(size) if attends else spec.mixer,), feed_forward=feed_forward), (
            *(
                attention(f"{at}.self_attn", index, size, qkv_bias=bias, out_bias=bias)
                if attends
                else spec.tensors(f"{at}.mamba", index, size.fmt)
            ),
            *(
                experts(at, index, size, feed_forward)
                if isinstance(feed_forward, ExpertFeedForward)
                else shared(at, index, size, feed_forward.intermediate)
            ),
            *block.norm(f"{at}.input_layernorm", index, size.hidden, size.fmt),
            *block.norm(f"{at}.post_attention_layernorm", index, size.hidden, size.fmt),
        )

    tables = rotary(config, size.head_dim) if config.text_or("position_embedding_type", "nope") == "rope" else ()
    return decoder(config, size, layer=layer, rotary_tables=tables)


def _feed_forward(config: Hyperparameters) -> DenseFeedForward | ExpertFeedForward:
    count = config.integer_or("num_local_experts", 8)
    width = config.integer_or("shared_intermediate_size", 1024, low=1)
    used, intermediate = config.integer_or("num_experts_per_tok", 2), config.integer_or("intermediate_size", 11008, low=1)
    if count == 0:
        return DenseFeedForward(intermediate=width)
    return ExpertFeedForward(experts=count, experts_per_token=used, intermediate=intermediate, shared_intermediate=width)


FAMILY = Family(model_types=("granitemoehybrid",), read=read, title="Granite 4")
