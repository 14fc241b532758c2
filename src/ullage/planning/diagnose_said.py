"""What an engine's own lines say of the question beside a command: its settings, the model by its file's name, the card."""

import re
from typing import Final

from ullage.domain.case import Value
from ullage.domain.cause import Log
from ullage.planning.diagnose_facts import detail, text_of

# Facts that say what a setting came to, and the setting's names.
_SETTINGS: Final = {"context_tokens": ("ctx_size",), "step_tokens": ("ubatch_size",), "offloaded_layers": ("n_gpu_layers",)}
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")
_SCHEME = re.compile(r"[-.](?:UD-)?(?P<scheme>(?:I?Q\d_\w{1,5}|F16|BF16|F32|MXFP4\w*))$", re.IGNORECASE)
_ENDS: Final = ".gguf"


def settings_said(log: Log) -> dict[str, Value]:
    """Settings by what the engine says they came to."""
    found: dict[str, Value] = {}
    for seen in log.sightings:
        value = detail(seen.fact, seen.fact.name)
        if value is not None and seen.fact.name in _SETTINGS:
            found.update(dict.fromkeys(_SETTINGS[seen.fact.name], value))
    return found


def models_said(log: Log) -> tuple[tuple[str, str | None], ...]:
    """Names the model may have, the likeliest first, each with the scheme of its weights where its file's name tells."""
    texts = {
        seen.fact.name: str(seen.fact.value) for seen in log.sightings if seen.fact.name in {"model_file", "model_name", "model_scheme"}
    }
    files = [word for _, words in log.commands for word in words if word.endswith(_ENDS)]
    found: list[tuple[str, str | None]] = []
    scheme = _scheme(texts.get("model_scheme", ""))
    for file in (texts.get("model_file"), *files):
        if file:
            name = _SHARD.sub("", file.replace("\\", "/").rpartition("/")[2].removesuffix(_ENDS))
            match = _SCHEME.search(name)
            scheme = match["scheme"].lower() if match is not None else scheme
            found.append((name[: match.start()] if match is not None else name, scheme))
    if "model_name" in texts:
        found.append(("-".join(texts["model_name"].split()), scheme))
    return tuple(dict.fromkeys(found))


def _scheme(said: str) -> str | None:
    """What a file calls its type, as its name does: Q4_K - Medium is q4_k_m."""
    kind, _, size = said.partition(" - ")
    return f"{kind}_{size[0]}".lower() if size else kind.lower() or None


def card_said(log: Log) -> str:
    """The card that a device is, where the engine names it."""
    named = (text_of(seen.fact, "card") for seen in log.sightings if seen.fact.name == "device_free_bytes")
    return re.sub(r"^(?:NVIDIA|AMD|Intel)(?:\(R\))? ", "", next(filter(None, named), ""))
