"""OLMo 2 and 3: norms after attention and MLP, and over all heads of queries and keys; OLMo 3 adds windows."""

from ullage.architectures._decoder import widths
from ullage.architectures._dense import POST_NORMS, all_alike, by_type, dense, every
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters


def read(config: Hyperparameters) -> Blueprint:
    """OLMo 3 has three sliding layers to one full layer."""
    size = widths(config, positions=2048)
    bias = config.flag("attention_bias", default=False)
    mixers = all_alike(size, None)
    if config.text("model_type") == "olmo3":
        mixers = by_type(config, size, config.integer_or("sliding_window", 4096), every(4, size.layers))
    return dense(config, size, mixers=mixers, layer_norms=POST_NORMS, qk_norm="heads", qkv_bias=bias, out_bias=bias)


FAMILY = Family(model_types=("olmo2", "olmo3"), read=read, title="OLMo 2 and 3")
