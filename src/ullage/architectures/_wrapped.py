"""Models around a text decoder: where its configuration lies, and how a tower is put beside its tensors."""

from collections.abc import Mapping

from ullage.architectures import find
from ullage.catalog.tensor_formats import model_dtype
from ullage.domain.checkpoint import Role, Tensor, TensorFormat
from ullage.domain.family import Blueprint
from ullage.domain.hyperparameters import Hyperparameters, Json
from ullage.frozen import replace

_DTYPE_KEYS = ("torch_dtype", "dtype")


def part(config: Hyperparameters, key: str, defaults: Mapping[str, Json] | None = None) -> Hyperparameters:
    """The nested object ``key``; what it lacks, or the whole object when it is missing, is as the model class's ``defaults`` say."""
    if config.has(key):
        return config.child(key, defaults=defaults)
    return Hyperparameters(defaults or {}, key)


def text_part(config: Hyperparameters, *, defaults: Mapping[str, Json] | None = None, tied: bool = False) -> Hyperparameters:
    """``text_config``, or the configuration itself where it is flat.

    The nested one takes the dtype from outside where it has none. Tables are tied where either level says so; ``tied`` is the
    outer class's default, for files in which neither says anything.
    """
    raw = config.raw("text_config")
    if not isinstance(raw, dict):
        return config
    outer = {key: config.raw(key) for key in _DTYPE_KEYS}
    inner = any(raw.get(key) is not None for key in _DTYPE_KEYS)
    dtype = {} if inner else {key: word for key, word in outer.items() if word is not None}
    both = config.flag("tie_word_embeddings", default=False)
    silent = not config.has("tie_word_embeddings") and raw.get("tie_word_embeddings") is None
    overrides: dict[str, Json] = {"tie_word_embeddings": True} if both or (silent and tied) else {}
    return config.child("text_config", defaults={**(defaults or {}), **dtype}, overrides=overrides)


def read_text(config: Hyperparameters, model_type: str) -> Blueprint:
    """The decoder inside, read by the family of ``model_type``."""
    return find(model_type).read(config)


def text_format(text: Blueprint) -> TensorFormat:
    """The format of the decoder, which its tower shares."""
    return model_dtype(text.architecture.dtype)


def wrapped(
    config: Hyperparameters,
    text: Blueprint,
    *,
    rename: tuple[tuple[str, str], ...] = (),
    tower: tuple[Tensor, ...] = (),
    encoder_tokens: int = 0,
    patches_per_token: int = 1,
    frames: int = 1,
    counts_tower: bool = True,
) -> Blueprint:
    """The decoder under the outer model's name, its tensors' first matching prefix renamed, with a tower beside it.

    ``patches_per_token`` is how many patches become one token, ``frames`` how many images' tokens a video may have.
    ``counts_tower`` says whether the tower is in the model's parameter count.
    """
    classes = config.words("architectures") if config.has("architectures") else ()
    model_type = config.text_or("model_type", "")
    name = classes[0] if classes else model_type
    architecture = replace(
        text.architecture,
        name=name,
        model_type=model_type,
        class_name=classes[0] if classes else "",
        encoder_tokens=encoder_tokens,
        encoder_patches=encoder_tokens * patches_per_token,
        encoder_frames=frames,
    )
    tensors = (*tower, *(_renamed(tensor, rename) for tensor in text.tensors))
    if counts_tower:
        return Blueprint(architecture=architecture, tensors=tensors)
    return Blueprint(architecture=architecture, tensors=tensors, uncounted=frozenset({Role.MTP, Role.VISION, Role.PROJECTOR}))


def _renamed(tensor: Tensor, rename: tuple[tuple[str, str], ...]) -> Tensor:
    for old, new in rename:
        if tensor.name.startswith(old):
            return replace(tensor, name=new + tensor.name.removeprefix(old))
    return tensor
