"""InternLM 2 and 2.5: Llama's shape with fused queries, keys and values and names of its own."""

from ullage.architectures._decoder import widths
from ullage.architectures._dense import fused_qkv, norms, output, stack
from ullage.domain.architecture import DenseFeedForward
from ullage.domain.checkpoint import Role, Tensor
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.formulas import tensors as block


def read(config: Hyperparameters) -> Blueprint:
    """w1 gates, w3 goes up, w2 comes down."""
    size = widths(config, positions=2048)
    width = config.integer("intermediate_size")
    bias = config.flag("bias", default=True)

    def parts(at: str, index: int) -> tuple[Tensor, ...]:
        return (
            *fused_qkv(f"{at}.attention.wqkv", index, size, bias=bias),
            *output(f"{at}.attention.wo", index, size, bias=bias),
            *block.linear(f"{at}.feed_forward.w1", Role.GATE, index, width, size.hidden, size.fmt),
            *block.linear(f"{at}.feed_forward.w3", Role.UP, index, width, size.hidden, size.fmt),
            *block.linear(f"{at}.feed_forward.w2", Role.DOWN, index, size.hidden, width, size.fmt),
            *norms(at, ("attention_norm", "ffn_norm"), index, size),
        )

    feed_forward = DenseFeedForward(intermediate=width)
    return stack(config, size, "model.layers", parts, feed_forward, table="tok_embeddings", head_name="output")


FAMILY = Family(model_types=("internlm2",), read=read, title="InternLM 2 and 2.5")
