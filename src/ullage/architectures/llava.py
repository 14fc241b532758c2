"""LLaVA and LLaVA-NeXT: any decoder behind a CLIP, SigLIP or Pixtral tower and two projections."""

from typing import Final

from ullage.architectures._clip_tower import clip_tower, siglip_tower
from ullage.architectures._pixtral import pixtral_tokens, pixtral_tower
from ullage.architectures._tower import Tensors, linear, patch_grid, weight
from ullage.architectures._wrapped import part, read_text, text_format, text_part, wrapped
from ullage.domain.checkpoint import Role, TensorFormat
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters, Json
from ullage.errors import UnsupportedModelError

# transformers, configuration_llava.py and configuration_llava_next.py: the tower where none is described.
_TOWER: Final[dict[str, Json]] = {
    "hidden_size": 1024,
    "image_size": 336,
    "intermediate_size": 4096,
    "model_type": "clip_vision_model",
    "num_hidden_layers": 24,
    "patch_size": 14,
}
# Older files leave out what equals the decoder's class: configuration_llama.py, configuration_mistral.py.
_LLAMA: Final[dict[str, Json]] = {
    "hidden_size": 4096,
    "intermediate_size": 11_008,
    "max_position_embeddings": 2048,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "vocab_size": 32_000,
}
_DECODERS: Final[dict[str, dict[str, Json]]] = {
    "llama": _LLAMA,
    "mistral": {**_LLAMA, "intermediate_size": 14_336, "max_position_embeddings": 131_072, "num_key_value_heads": 8},
}
_PINPOINTS: Final = ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008))


def _tower(config: Hyperparameters, fmt: TensorFormat) -> Tensors:
    match config.text_or("model_type", "clip_vision_model"):
        case "clip_vision_model":
            return clip_tower(config, fmt, prefix="vision_tower.vision_model")
        case "siglip_vision_model":
            return siglip_tower(config, fmt, prefix="vision_tower.vision_model")
        case "pixtral":
            return pixtral_tower(config, fmt, prefix="vision_tower")
        case other:
            raise UnsupportedModelError(
                f"vision_config.model_type is {other!r}; clip_vision_model, siglip_vision_model and pixtral are known"
            )


def _width(vision: Hyperparameters) -> int:
    return vision.integer_or("hidden_size", 1024 if vision.text_or("model_type", "") == "pixtral" else 768, low=1)


def _projector(config: Hyperparameters, fmt: TensorFormat, *, width: int, hidden: int) -> Tensors:
    """Two projections; the first takes as many layers' features as ``vision_feature_layer`` lists."""
    depths = config.raw("vision_feature_layer")
    features = width * (len(depths) if isinstance(depths, list) and depths else 1)
    bias = config.flag("multimodal_projector_bias", default=True)
    return (
        *linear("multi_modal_projector.linear_1", hidden, features, fmt, bias=bias, role=Role.PROJECTOR),
        *linear("multi_modal_projector.linear_2", hidden, hidden, fmt, bias=bias, role=Role.PROJECTOR),
    )


def _tokens(config: Hyperparameters, vision: Hyperparameters, *, tiled: bool) -> int:
    """Most tokens of one image: its patches, and where it is tiled those of the widest tiling with one more after each row."""
    if vision.text_or("model_type", "") == "pixtral":
        return pixtral_tokens(vision, merge=1)
    _, patches = patch_grid(vision, image=224, patch=16)
    whole = patches**2 + (1 if config.text_or("vision_feature_select_strategy", "default") == "full" and _has_class_token(vision) else 0)
    if not tiled:
        return whole
    side = vision.integer_or("image_size", 224, low=1)
    grids = ((height // side * patches, width // side * patches) for height, width in _pinpoints(config))
    return whole + max(rows * columns + rows for rows, columns in grids)


def _has_class_token(vision: Hyperparameters) -> bool:
    return vision.text_or("model_type", "clip_vision_model") == "clip_vision_model"


def _pinpoints(config: Hyperparameters) -> tuple[tuple[int, ...], ...]:
    if not config.has("image_grid_pinpoints"):
        return _PINPOINTS
    listed = config.raw("image_grid_pinpoints")
    pairs = listed if isinstance(listed, list) else []
    found = tuple(tuple(item for item in pair if isinstance(item, int)) for pair in pairs if isinstance(pair, list))
    if not found or any(len(pair) != 2 for pair in found):  # noqa: PLR2004 - height and width
        raise UnsupportedModelError("image_grid_pinpoints is not a list of [height, width]")
    return found


def read(config: Hyperparameters) -> Blueprint:
    """LLaVA-NeXT cuts an image into tiles and has one more learned vector, the end of a row."""
    tiled = config.text("model_type") == "llava_next"
    raw = config.raw("text_config")
    kind = raw.get("model_type") if isinstance(raw, dict) else None
    name = kind if isinstance(kind, str) else "llama"
    text = read_text(text_part(config, defaults=_DECODERS.get(name, {})), name)
    fmt, hidden = text_format(text), text.architecture.hidden_size
    vision = part(config, "vision_config", {} if config.has("vision_config") else _TOWER)
    config.ignore("image_seq_length", "use_image_newline_parameter", "vision_feature_select_strategy", "vocab_size")
    tower = (
        *_tower(vision, fmt),
        *_projector(config, fmt, width=_width(vision), hidden=hidden),
        *(weight("image_newline", fmt, hidden, role=Role.PROJECTOR) if tiled else ()),
    )
    return wrapped(
        config,
        text,
        rename=(("model.", "language_model.model."), ("lm_head", "language_model.lm_head")),
        tower=tower,
        encoder_tokens=_tokens(config, vision, tiled=tiled),
    )


FAMILY = Family(model_types=("llava", "llava_next"), read=read, title="LLaVA and LLaVA-NeXT")
