"""Canonical names of tensors: those of Transformers' checkpoints, without what wrappers put before them."""

import re

_WRAPPERS = ("language_model.model.", "model.language_model.", "language_model.")
_BARE = re.compile(r"(?:layers\.\d+\.|embed_tokens\.|norm\.|final_layernorm\.)")


def canonical(name: str) -> str:
    """``model.`` before everything that the decoder has besides its head, whatever it was wrapped in or saved without."""
    for wrapper in _WRAPPERS:
        if name.startswith(wrapper):
            inner = name.removeprefix(wrapper)
            return inner if inner.startswith("lm_head.") else f"model.{inner}"
    return f"model.{name}" if _BARE.match(name) else name
