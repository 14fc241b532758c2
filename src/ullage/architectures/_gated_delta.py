"""Gated delta net layers with gated attention among them: what Qwen3-Next, Qwen3.5 and Qwen3.8-Flash-Next share."""

from collections.abc import Callable
from typing import Final

from ullage.architectures._decoder import Widths
from ullage.architectures._dense import full, qk_norms
from ullage.architectures._drafts import as_draft
from ullage.architectures._experts import Attending, Built, Feeding, Mixture, routed
from ullage.architectures._qwen_tower import IMAGE_TOKENS, MERGED, qwen3_tower
from ullage.architectures._recurrent import convolution, layer_kinds, state_dtype_of
from ullage.architectures._wrapped import part, text_format, text_part, wrapped
from ullage.domain.architecture import Recurrent
from ullage.domain.checkpoint import Role, Tensor
from ullage.domain.family import Blueprint
from ullage.domain.hyperparameters import Hyperparameters
from ullage.formulas import tensors as block
from ullage.frozen import dataclass, replace

_IDS: Final = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id", "language_model_only")


@dataclass(frozen=True, slots=True, kw_only=True)
class GatedDelta:
    """The sizes of one gated delta net; ``fused`` checkpoints keep q, k, v and the gate in one matrix, and so both scalars."""

    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    kernel: int
    fused: bool
    state_dtype: str | None = None

    @property
    def keys(self) -> int:
        """Width of all keys."""
        return self.key_heads * self.key_dim

    @property
    def values(self) -> int:
        """Width of all values."""
        return self.value_heads * self.value_dim

    @property
    def mixer(self) -> Recurrent:
        """One key by value matrix per value head. Ranks divide the key heads, of which there are never more than value heads."""
        return Recurrent(
            kind="gated_delta_net",
            heads=self.key_heads,
            conv_elements=(self.kernel - 1) * (2 * self.keys + self.values),
            state_elements=self.value_heads * self.key_dim * self.value_dim,
            inner_dim=self.values,
            state_dtype=self.state_dtype,
        )


def gated_delta(config: Hyperparameters, *, fused: bool) -> GatedDelta:
    """The ``linear_*`` keys; the defaults are those of the model classes."""
    return GatedDelta(
        key_heads=config.integer_or("linear_num_key_heads", 16, low=1),
        value_heads=config.integer_or("linear_num_value_heads", 32, low=1),
        key_dim=config.integer_or("linear_key_head_dim", 128, low=1),
        value_dim=config.integer_or("linear_value_head_dim", 128, low=1),
        kernel=config.integer_or("linear_conv_kernel_dim", 4, low=1),
        fused=fused,
        state_dtype=state_dtype_of(config, "mamba_ssm_dtype"),
    )


def kinds(config: Hyperparameters, layers: int, **others: str) -> tuple[str, ...]:
    """The word "linear" or "full" for each layer: as listed, or every ``full_attention_interval``-th full."""
    interval = config.integer_or("full_attention_interval", 4, low=1)
    if config.has("layer_types"):
        return layer_kinds(config, "layer_types", layers, **others)
    return tuple("linear" if (index + 1) % interval else "full" for index in range(layers))


def delta_layer(at: str, index: int, size: Widths, delta: GatedDelta) -> Attending:
    """A gated delta net called ``at``."""
    joined = 2 * delta.keys + delta.values
    inputs = (
        (("in_proj_qkvz", joined + delta.values), ("in_proj_ba", 2 * delta.value_heads))
        if delta.fused
        else (
            ("in_proj_qkv", joined),
            ("in_proj_z", delta.values),
            ("in_proj_b", delta.value_heads),
            ("in_proj_a", delta.value_heads),
        )
    )
    return delta.mixer, (
        *(block.weight(f"{at}.{name}", Role.RECURRENT_STATE, index, (delta.value_heads,), size.fmt) for name in ("dt_bias", "A_log")),
        *convolution(f"{at}.conv1d", index, size.fmt, channels=joined, kernel=delta.kernel, bias=False),
        *(
            tensor
            for name, width in inputs
            for tensor in block.linear(f"{at}.{name}", Role.RECURRENT_IN, index, width, size.hidden, size.fmt)
        ),
        *block.norm(f"{at}.norm", index, delta.value_dim, size.fmt),
        *block.linear(f"{at}.out_proj", Role.RECURRENT_OUT, index, size.hidden, delta.values, size.fmt),
    )


def gated_attention(at: str, index: int, size: Widths, *, bias: bool = False) -> Attending:
    """Attention whose query projection also makes a gate for the output, hence twice as many rows."""
    query, gated = size.query_heads * size.head_dim, replace(size, query_heads=2 * size.query_heads)
    keys = size.kv_heads * size.head_dim
    return full(size), (
        *block.linear(f"{at}.q_proj", Role.Q, index, gated.query_heads * size.head_dim, size.hidden, size.fmt, bias=bias),
        *block.linear(f"{at}.k_proj", Role.K, index, keys, size.hidden, size.fmt, bias=bias),
        *block.linear(f"{at}.v_proj", Role.V, index, keys, size.hidden, size.fmt, bias=bias),
        *block.linear(f"{at}.o_proj", Role.O, index, size.hidden, query, size.fmt, bias=bias),
        *qk_norms(at, index, size, "head"),
    )


def gated_mixture(at: str, index: int, size: Widths, mixture: Mixture) -> Feeding:
    """Routed experts and a shared one behind a gate of its own."""
    outline, tensors = routed(at, index, size, mixture)
    return outline, (*tensors, *block.linear(f"{at}.shared_expert_gate", Role.SHARED_ROUTER, index, 1, size.hidden, size.fmt))


def gated_experts_of(config: Hyperparameters, *, experts: int, per_token: int) -> Mixture:
    """The experts of a layer; the arguments are the class's defaults."""
    return Mixture(
        experts=config.integer_or("num_experts", experts, low=1),
        per_token=config.integer_or("num_experts_per_tok", per_token, low=1),
        intermediate=config.integer_or("moe_intermediate_size", 512, low=1),
        shared=config.integer_or("shared_expert_intermediate_size", 512, low=1),
        shared_name="shared_expert",
    )


def beside_tower(config: Hyperparameters, decode: Callable[[Hyperparameters], Blueprint]) -> Blueprint:
    """What ``decode`` makes of the configuration, or of its ``text_config`` with the tower of ``vision_config`` beside it."""
    if not config.has("text_config"):
        return decode(config)
    config.ignore(*_IDS)
    text = decode(text_part(config))
    vision = part(config, "vision_config", {"deepstack_visual_indexes": []})
    vision.ignore("dtype", "torch_dtype")  # the tower is loaded in the text's
    tower = qwen3_tower(vision, text_format(text))
    return wrapped(
        config, text, rename=(("model.", "model.language_model."),), tower=tower, encoder_tokens=IMAGE_TOKENS, patches_per_token=MERGED
    )


def drafts(count: int, size: Widths, layer: Built) -> tuple[Tensor, ...]:
    """The draft head: ``count`` copies of the full attention ``layer`` (built as "mtp.layers.0"), which share one input projection."""
    if count == 0:
        return ()
    joined = (
        *block.linear("mtp.fc", Role.OTHER, None, size.hidden, 2 * size.hidden, size.fmt),
        *(
            tensor
            for name in ("norm", "pre_fc_norm_embedding", "pre_fc_norm_hidden")
            for tensor in block.norm(f"mtp.{name}", None, size.hidden, size.fmt)
        ),
    )
    repeated = (replace(tensor, name=tensor.name.replace(".0.", f".{turn}.", 1)) for turn in range(count) for tensor in layer[1])
    return as_draft((*joined, *repeated))
