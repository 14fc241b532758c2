"""Kimi K3: the decoder of Kimi Linear, grown, and a vision tower of RMS norms without biases."""

from typing import Final

from ullage.architectures._moonvit import merged_patches, moonvit_tokens
from ullage.architectures._tower import UNSIZED, Tensors, linear, norm, weight
from ullage.architectures._wrapped import read_text, text_format, text_part, wrapped
from ullage.domain.checkpoint import Role, TensorFormat
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters

_RENAME: Final = (("model.", "language_model.model."), ("lm_head", "language_model.lm_head"))
_VALUES: Final = ("activation_func", "init_pos_emb_time", "pos_emb_interpolation_mode", "projector_hidden_act", "projector_ln_eps")


def read(config: Hyperparameters) -> Blueprint:
    """The decoder with tower and projector."""
    config.ignore("ignore_index", "image_placeholder", "media_placeholder_token_id")
    text = read_text(text_part(config), "kimi_linear")
    vision = config.child("vision_config")
    tower = _tower(vision, text_format(text), hidden=text.architecture.hidden_size)
    return wrapped(
        config, text, rename=_RENAME, tower=tower, encoder_tokens=moonvit_tokens(vision), patches_per_token=merged_patches(vision)
    )


def _tower(config: Hyperparameters, fmt: TensorFormat, *, hidden: int) -> Tensors:
    """Attention wider than the tower; positions in time are computed, not stored. ``hidden`` is the text's width."""
    config.must_be("norm_type", "rmsnorm")
    config.must_be("mlp_type", "mlp2")
    config.must_be("merge_type", "sd2_tpool")
    config.must_be("mm_projector_type", "patchmergerv2")
    config.must_be("pos_emb_type", "divided_fixed")
    config.must_be("text_hidden_size", hidden)
    for key in ("attn_bias", "linear_bias", "patch_embed_proj_bias"):
        config.must_be(key, False)
    config.ignore(*UNSIZED, *_VALUES, "vt_num_attention_heads")
    width = config.integer("vt_hidden_size")
    side = config.integer("patch_size")
    rows, columns = config.integer("init_pos_emb_height"), config.integer("init_pos_emb_width")
    return (
        *weight("vision_tower.patch_embed.pos_emb.weight", fmt, rows, columns, width),
        *weight("vision_tower.patch_embed.proj.weight", fmt, width, 3, side, side),
        *(tensor for index in range(config.integer("vt_num_hidden_layers")) for tensor in _block(config, index, width, fmt)),
        *norm("vision_tower.encoder.final_layernorm", width, fmt, bias=False),
        *_projector(config, width, fmt, hidden=hidden),
    )


def _block(config: Hyperparameters, index: int, width: int, fmt: TensorFormat) -> Tensors:
    at = f"vision_tower.encoder.blocks.{index}"
    inner = config.integer_or("qkv_hidden_size", width, low=1)
    intermediate = config.integer("vt_intermediate_size")
    return (
        *norm(f"{at}.norm0", width, fmt, bias=False),
        *linear(f"{at}.wqkv", 3 * inner, width, fmt, bias=False),
        *linear(f"{at}.wo", width, inner, fmt, bias=False),
        *norm(f"{at}.norm1", width, fmt, bias=False),
        *linear(f"{at}.mlp.fc0", intermediate, width, fmt, bias=False),
        *linear(f"{at}.mlp.fc1", width, intermediate, fmt, bias=False),
    )


def _projector(config: Hyperparameters, width: int, fmt: TensorFormat, *, hidden: int) -> Tensors:
    """Patches that become one token side by side, two projections, a norm."""
    rows, columns = config.integers("merge_kernel_size", length=2, low=1)
    merged = config.integer_or("mm_hidden_size", width, low=1) * rows * columns
    return (
        *linear("mm_projector.proj.0", merged, merged, fmt, bias=False, role=Role.PROJECTOR),
        *linear("mm_projector.proj.2", hidden, merged, fmt, bias=False, role=Role.PROJECTOR),
        *norm("mm_projector.post_norm", hidden, fmt, bias=False, role=Role.PROJECTOR),
    )


FAMILY = Family(model_types=("kimi_k3",), read=read, title="Kimi K3")
