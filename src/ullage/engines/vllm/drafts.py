"""Speculative decoding: how many tokens a step drafts, and whether the model's own draft layers are loaded for it."""

import re
from functools import lru_cache

from ullage import wire
from ullage.domain.case import Case, Model, Settings
from ullage.domain.checkpoint import Role
from ullage.errors import MalformedFileError
from ullage.frozen import dataclass

_OWN_LAYERS = re.compile(r"(?:^|_)mtp|dspark")


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """``tokens`` drafted in one step; ``own_layers`` counts the draft layers of the checkpoint that are loaded and keep a cache."""

    tokens: int = 0
    own_layers: int = 0


NO_DRAFT = Draft()


def draft(case: Case) -> Draft:
    """What the case drafts: the flags of each release, or the JSON of ``speculative_config``."""
    tokens, method = _said(case.settings)
    if not tokens:
        return NO_DRAFT
    own = _OWN_LAYERS.search(method) is not None and _has_draft_layers(case.model)
    return Draft(tokens=tokens, own_layers=1 if own else 0)


@lru_cache(maxsize=256)
def _has_draft_layers(model: Model) -> bool:
    return any(tensor.role is Role.MTP for tensor in model.checkpoint.tensors)


def _said(settings: Settings) -> tuple[int, str]:
    stated = settings.text("speculative_config")
    if stated:
        return _from_json(stated)
    tokens = settings.integer("spec_tokens") or settings.integer("num_speculative_tokens") or 0
    return tokens, settings.text("spec_method") or settings.text("speculative_model") or ""


@lru_cache(maxsize=256)
def _from_json(text: str) -> tuple[int, str]:
    try:
        said = wire.loads(text.encode())
    except MalformedFileError:
        return 0, ""
    if not isinstance(said, dict):
        return 0, ""
    tokens, method = said.get("num_speculative_tokens"), said.get("method")
    return (tokens if isinstance(tokens, int) and not isinstance(tokens, bool) else 0), str(method or "")
