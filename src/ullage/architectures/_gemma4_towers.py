"""The towers of Gemma 4: vision, audio, and the single projections of the unified models. Clipping bounds are buffers."""

from ullage.architectures._tower import UNSIZED, Tensors, linear, norm, three_step_mlp, weight
from ullage.domain.checkpoint import Role, TensorFormat
from ullage.domain.hyperparameters import Hyperparameters

_VALUES = ("default_output_length", "image_seq_length", "max_position_embeddings", "standardize", "use_clipped_linears", "video_seq_length")
_SANDWICH = ("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm")


def vision_tower(config: Hyperparameters, fmt: TensorFormat, *, hidden: int) -> Tensors:
    """Patches with learned row and column positions, norms of query and key; ``hidden`` is the text's width."""
    width = config.integer_or("hidden_size", 768, low=1)
    patch = config.integer_or("patch_size", 16, low=1)
    positions = config.integer_or("position_embedding_size", 10_240, low=1)
    config.ignore(*UNSIZED, *_VALUES, "global_head_dim", "pooling_kernel_size")
    at = "model.vision_tower"
    return (
        *weight(f"{at}.patch_embedder.position_embedding_table", fmt, 2, positions, width),
        *linear(f"{at}.patch_embedder.input_proj", width, 3 * patch**2, fmt, bias=False),
        *(
            tensor
            for index in range(config.integer_or("num_hidden_layers", 16, low=1))
            for tensor in _vision_block(config, f"{at}.encoder.layers.{index}", width, fmt)
        ),
        *linear("model.embed_vision.embedding_projection", hidden, width, fmt, bias=False, role=Role.PROJECTOR),
    )


def _vision_block(config: Hyperparameters, at: str, width: int, fmt: TensorFormat) -> Tensors:
    head_dim = config.integer_or("head_dim", 64, low=1)
    heads = config.integer_or("num_attention_heads", 12, low=1)
    keys = config.integer_or("num_key_value_heads", 12, low=1) * head_dim
    bias = config.flag("attention_bias", default=False)
    attn = f"{at}.self_attn"
    return (
        *linear(f"{attn}.q_proj.linear", heads * head_dim, width, fmt, bias=bias),
        *linear(f"{attn}.k_proj.linear", keys, width, fmt, bias=bias),
        *linear(f"{attn}.v_proj.linear", keys, width, fmt, bias=bias),
        *linear(f"{attn}.o_proj.linear", width, heads * head_dim, fmt, bias=bias),
        *norm(f"{attn}.q_norm", head_dim, fmt, bias=False),
        *norm(f"{attn}.k_norm", head_dim, fmt, bias=False),
        *three_step_mlp(f"{at}.mlp", width, config.integer_or("intermediate_size", 3072, low=1), fmt, suffix=".linear"),
        *(tensor for name in _SANDWICH for tensor in norm(f"{at}.{name}", width, fmt, bias=False)),
    )


def audio_tower(config: Hyperparameters, fmt: TensorFormat, *, hidden: int) -> Tensors:
    """Two convolutions over the spectrogram, then conformer blocks; ``hidden`` is the text's width."""
    width = config.integer_or("hidden_size", 1024, low=1)
    out = config.integer_or("output_proj_dims", 1536, low=1)
    first, second = config.integers("subsampling_conv_channels", length=2, low=1) if config.has("subsampling_conv_channels") else (128, 32)
    config.ignore(*UNSIZED, "attention_context_left", "attention_context_right", "attention_invalid_logits_value", "attention_logit_cap")
    config.ignore("attention_chunk_size", "gradient_clipping", "residual_weight", "use_clipped_linears")
    at = "model.audio_tower"
    return (
        *weight(f"{at}.subsample_conv_projection.layer0.conv.weight", fmt, first, 1, 3, 3),
        *norm(f"{at}.subsample_conv_projection.layer0.norm", first, fmt, bias=False),
        *weight(f"{at}.subsample_conv_projection.layer1.conv.weight", fmt, second, first, 3, 3),
        *norm(f"{at}.subsample_conv_projection.layer1.norm", second, fmt, bias=False),
        *linear(f"{at}.subsample_conv_projection.input_proj_linear", width, first // 4 * second, fmt, bias=False),
        *(
            tensor
            for index in range(config.integer_or("num_hidden_layers", 12, low=1))
            for tensor in _audio_block(config, f"{at}.layers.{index}", width, fmt)
        ),
        *linear(f"{at}.output_proj", out, width, fmt),
        *linear("model.embed_audio.embedding_projection", hidden, out, fmt, bias=False, role=Role.PROJECTOR),
    )


def _audio_block(config: Hyperparameters, at: str, width: int, fmt: TensorFormat) -> Tensors:
    kernel = config.integer_or("conv_kernel_size", 5, low=1)
    heads = config.integer_or("num_attention_heads", 8, low=1)
    return (
        *_half_step(f"{at}.feed_forward1", width, fmt),
        *_half_step(f"{at}.feed_forward2", width, fmt),
        *weight(f"{at}.self_attn.per_dim_scale", fmt, width // heads),
        *(
            tensor
            for name in ("q_proj.linear", "k_proj.linear", "v_proj.linear", "post.linear", "relative_k_proj")
            for tensor in linear(f"{at}.self_attn.{name}", width, width, fmt, bias=False)
        ),
        *linear(f"{at}.lconv1d.linear_start.linear", 2 * width, width, fmt, bias=False),
        *linear(f"{at}.lconv1d.linear_end.linear", width, width, fmt, bias=False),
        *weight(f"{at}.lconv1d.depthwise_conv1d.weight", fmt, width, 1, kernel),
        *(
            tensor
            for name in ("lconv1d.pre_layer_norm", "lconv1d.conv_norm", "norm_pre_attn", "norm_post_attn", "norm_out")
            for tensor in norm(f"{at}.{name}", width, fmt, bias=False)
        ),
    )


def _half_step(at: str, width: int, fmt: TensorFormat) -> Tensors:
    """One of a conformer block's two MLPs, four times as wide."""
    return (
        *norm(f"{at}.pre_layer_norm", width, fmt, bias=False),
        *linear(f"{at}.ffw_layer_1.linear", 4 * width, width, fmt, bias=False),
        *linear(f"{at}.ffw_layer_2.linear", width, 4 * width, fmt, bias=False),
        *norm(f"{at}.post_layer_norm", width, fmt, bias=False),
    )


def unified_vision(config: Hyperparameters, fmt: TensorFormat, *, hidden: int) -> Tensors:
    """The unified models have no tower: large patches are projected into the text."""
    width = config.integer_or("mm_embed_dim", 3840, low=1)
    side = config.integer_or("patch_size", 16, low=1) * config.integer_or("pooling_kernel_size", 3, low=1)
    positions = config.integer_or("mm_posemb_size", 1120, low=1)
    out = config.integer_or("output_proj_dims", 3840, low=1)
    config.ignore(*UNSIZED, "model_patch_size", "num_soft_tokens")
    at = "model.vision_embedder"
    return (
        *weight(f"{at}.pos_embedding", fmt, positions, 2, width, role=Role.PROJECTOR),
        *norm(f"{at}.patch_ln1", 3 * side**2, fmt, role=Role.PROJECTOR),
        *linear(f"{at}.patch_dense", width, 3 * side**2, fmt, role=Role.PROJECTOR),
        *norm(f"{at}.patch_ln2", width, fmt, role=Role.PROJECTOR),
        *norm(f"{at}.pos_norm", width, fmt, role=Role.PROJECTOR),
        *linear("model.embed_vision.embedding_projection", hidden, out, fmt, bias=False, role=Role.PROJECTOR),
    )


def unified_audio(config: Hyperparameters, fmt: TensorFormat, *, hidden: int) -> Tensors:
    """Frames of raw samples, projected into the text."""
    samples = config.integer_or("audio_embed_dim", config.integer_or("audio_samples_per_token", 640, low=1), low=1)
    config.ignore(*UNSIZED, "hidden_size", "output_proj_dims")  # other names of the same number
    return linear("model.embed_audio.embedding_projection", hidden, samples, fmt, bias=False, role=Role.PROJECTOR)
