"""What errors state beside figures: the names of their details, the settings they name, and signs of what they were about."""

import re
from typing import Final

from ullage.domain.cause import Hint, Log
from ullage.planning.diagnose_facts import is_over_device
from ullage.planning.diagnose_stage import LEVEL_ZERO

_NOT_FIRST: Final = re.compile(r"(?:^|[A-Za-z:])[1-9]\d?$")  # of several devices: a card alone is number 0
# What errors, the functions above them and their source tell beside figures.
_TOLD: Final = {
    "dispatched": re.compile(r"dispatch|several (?:GPUs|devices)"),  # layers are laid on several devices
    "plain_attention": re.compile(r"eager_attention|softmax\(\s*attn_|attn_(?:weights|scores) = torch\.matmul|baddbmm"),
    "pictures": re.compile(r"_(?:image|video|mm|multimodal)_|[Vv]ision|[Vv]isual|multimodal_embeddings|/(?:clip|siglip)\.py|pixel_values"),
}


def stated(log: Log) -> frozenset[str]:
    """The names of the details that errors state, and what else they show: more asked for than there is, not the first device, whose."""
    errors = [seen.fact for seen in log.sightings if seen.fact.is_error]
    other = any(name == "device" and _NOT_FIRST.search(str(value)) for fact in errors for name, value in fact.details)
    is_intel = any(LEVEL_ZERO.search(seen.text) for seen in log.sightings if seen.fact.is_error)
    words = " ".join(" ".join((seen.text, *seen.frames, *seen.source)) for seen in log.sightings if seen.fact.is_error)
    tells = {sign: pattern.search(words) is not None for sign, pattern in _TOLD.items()}
    signs = {"over_device": is_over_device(log), **tells, "other_device": other, "level_zero": is_intel}
    return frozenset({name for fact in errors for name, _ in fact.details} | {name for name, holds in signs.items() if holds})


def is_named(hint: Hint, told: str) -> bool:
    """Whether the error's own words name the setting."""
    return any(word.lower().replace("-", "_") in told for word in (hint.setting, *hint.names))
