"""RWKV 4: a recurrence over channels in place of attention, and no cache that grows."""

from ullage.architectures._decoder import Spelling, Widths, decoder, widths
from ullage.architectures._dense import norms
from ullage.domain.architecture import DenseFeedForward, Layer, Recurrent
from ullage.domain.checkpoint import Role, Tensor
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.formulas import tensors as block

_SPELLING = Spelling(heads=("hidden_size",), kv_heads=(), head_dim=(), positions=("context_length",))  # every channel runs by itself


def _mixes(at: str, index: int, size: Widths, names: tuple[str, ...]) -> tuple[Tensor, ...]:
    """How much of the last token each channel keeps."""
    return tuple(block.weight(f"{at}.time_mix_{name}", Role.RECURRENT_STATE, index, (1, 1, size.hidden), size.fmt) for name in names)


def _time_mix(at: str, index: int, size: Widths, inner: int) -> tuple[Tensor, ...]:
    """What stands where attention stands elsewhere."""
    return (
        *(block.weight(f"{at}.{name}", Role.RECURRENT_STATE, index, (inner,), size.fmt) for name in ("time_decay", "time_first")),
        *_mixes(at, index, size, ("key", "value", "receptance")),
        *(
            tensor
            for name in ("key", "value", "receptance")
            for tensor in block.linear(f"{at}.{name}", Role.RECURRENT_IN, index, inner, size.hidden, size.fmt)
        ),
        *block.linear(f"{at}.output", Role.RECURRENT_OUT, index, size.hidden, inner, size.fmt),
    )


def _channel_mix(at: str, index: int, size: Widths, intermediate: int) -> tuple[Tensor, ...]:
    """What stands where the MLP stands elsewhere; the receptance gates its outcome."""
    return (
        *_mixes(at, index, size, ("key", "receptance")),
        *block.mlp(f"{at}.key", f"{at}.value", index, size.fmt, hidden=size.hidden, intermediate=intermediate),
        *block.linear(f"{at}.receptance", Role.GATE, index, size.hidden, size.hidden, size.fmt),
    )


def read(config: Hyperparameters) -> Blueprint:
    """A sequence keeps the last input of both blocks, and numerator, denominator and maximum of the recurrence."""
    size = widths(config, positions=1024, spelling=_SPELLING)
    inner = config.integer_or("attention_hidden_size", size.hidden, low=1)
    intermediate = config.integer_or("intermediate_size", 4 * size.hidden, low=1)
    mixer = Recurrent(kind="rwkv4", heads=inner, conv_elements=2 * size.hidden, state_elements=3 * inner, inner_dim=inner)
    outline = Layer(mixers=(mixer,), feed_forward=DenseFeedForward(intermediate=intermediate, gated=False))

    def layer(index: int) -> tuple[Layer, tuple[Tensor, ...]]:
        at = f"rwkv.blocks.{index}"
        return outline, (
            *norms(at, ("ln1", "ln2") if index else ("pre_ln", "ln1", "ln2"), index, size, bias=True),
            *_time_mix(f"{at}.attention", index, size, inner),
            *_channel_mix(f"{at}.feed_forward", index, size, intermediate),
        )

    return decoder(config, size, layer=layer, prefix="rwkv", table="embeddings", final_norm="ln_out", norm_bias=True, head_name="head")


FAMILY = Family(model_types=("rwkv",), read=read, title="RWKV 4")
