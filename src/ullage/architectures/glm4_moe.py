"""GLM-4.5, 4.6 and 4.7."""

from ullage.architectures._decoder import decoder, widths
from ullage.architectures._drafts import next_token_layers
from ullage.architectures._experts import Built, dense, grouped, pre_norm, routed
from ullage.architectures._mla import dense_layers, routing
from ullage.architectures._rotary import rotary, rotary_dim
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters


def read(config: Hyperparameters) -> Blueprint:
    """Grouped-query attention, DeepSeek's routing, a draft layer at the end."""
    size = widths(config, dtype="bfloat16")
    mixture = routing(config)
    plain = dense_layers(config, size.layers, 1)
    intermediate = config.integer("intermediate_size")
    bias = config.flag("attention_bias", default=False)
    norms = config.flag("use_qk_norm", default=False)

    def layer(index: int) -> Built:
        at = f"model.layers.{index}"
        attending = grouped(f"{at}.self_attn", index, size, qkv_bias=bias, head_norms=norms)
        mlp = f"{at}.mlp"
        feeding = dense(mlp, index, size, intermediate) if index in plain else routed(mlp, index, size, mixture)
        return pre_norm(at, index, size, attending, feeding)

    # GLM-4.5 repeats token table and head in its draft layer, 4.6 and later do not; the configurations do not tell them apart.
    drafts = next_token_layers(config.integer_or("num_nextn_predict_layers", 0), size, layer)
    tables = rotary(config, rotary_dim(config, size.head_dim, 0.5))
    return decoder(config, size, layer=layer, rotary_tables=tables, after=drafts)


FAMILY = Family(model_types=("glm4_moe",), read=read, title="GLM-4.5 to 4.7")
