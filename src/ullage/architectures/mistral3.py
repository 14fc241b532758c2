"""Mistral 3: Mistral Small 3.1 and later, Devstral, Ministral 3; a Mistral decoder behind a Pixtral tower that merges patches."""

from typing import Final

from ullage.architectures._pixtral import pixtral_tokens, pixtral_tower
from ullage.architectures._tower import Tensors, linear, norm
from ullage.architectures._wrapped import part, read_text, text_format, text_part, wrapped
from ullage.domain.checkpoint import Role, TensorFormat
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters, Json

# transformers, configuration_mistral3.py: the tower where none is described.
_TOWER: Final[dict[str, Json]] = {"image_size": 1540, "patch_size": 14}


def _projector(config: Hyperparameters, fmt: TensorFormat, *, width: int, hidden: int, merge: int) -> Tensors:
    """A norm, the merger of ``merge`` x ``merge`` patches, and two projections."""
    bias = config.flag("multimodal_projector_bias", default=False)
    depths = config.raw("vision_feature_layer")
    features = width * (len(depths) if isinstance(depths, list) and depths else 1)
    at, role = "multi_modal_projector", Role.PROJECTOR
    return (
        *norm(f"{at}.norm", width, fmt, bias=False, role=role),
        *linear(f"{at}.patch_merger.merging_layer", width, width * merge**2, fmt, bias=False, role=role),
        *linear(f"{at}.linear_1", hidden, features, fmt, bias=bias, role=role),
        *linear(f"{at}.linear_2", hidden, hidden, fmt, bias=bias, role=role),
    )


def read(config: Hyperparameters) -> Blueprint:
    """The decoder is the one ``text_config`` names: Mistral, or Ministral 3."""
    if not isinstance(config.raw("text_config"), dict):
        config.child("text_config")  # refused by name: a flat file would give this family itself as its decoder
    inner = text_part(config, defaults={"model_type": "mistral"}, tied=True)
    text = read_text(inner, inner.text("model_type"))
    fmt = text_format(text)
    vision = part(config, "vision_config", {} if config.has("vision_config") else _TOWER)
    vision.ignore("vocab_size")
    merge = config.integer_or("spatial_merge_size", 2, low=1)
    tower = (
        *pixtral_tower(vision, fmt, prefix="vision_tower"),
        *_projector(
            config,
            fmt,
            width=vision.integer_or("hidden_size", 1024, low=1),
            hidden=text.architecture.hidden_size,
            merge=merge,
        ),
    )
    return wrapped(
        config,
        text,
        rename=(("model.", "language_model.model."), ("lm_head", "language_model.lm_head")),
        tower=tower,
        encoder_tokens=pixtral_tokens(vision, merge=merge),
        patches_per_token=merge**2,
    )


FAMILY = Family(model_types=("mistral3",), read=read, title="Mistral 3 with its Pixtral tower")
