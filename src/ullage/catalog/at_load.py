"""Schemes that an engine makes by itself while it loads an unquantised checkpoint, and how it is told.

Everything else has to be stored in the scheme before: the command of such a plan can only name a stand-in.
"""

from collections.abc import Iterator
from typing import NamedTuple

from ullage.domain.case import Case, Settings
from ullage.domain.plan import Objection

_Release = tuple[int, ...]


class AtLoad(NamedTuple):
    """One scheme by our word, the settings that ask for it, the releases from ``since`` and before ``until``, and the least card."""

    engine: str
    word: str
    settings: tuple[tuple[str, str], ...]
    since: _Release
    until: _Release | None = None
    capability: tuple[int, int] = (0, 0)

    def is_in(self, release: _Release) -> bool:
        """Whether a release has it."""
        return release >= self.since and (self.until is None or release < self.until)


_QUANTIZATION, _CONFIG = "quantization", "quantization_config"
_BNB = ((_QUANTIZATION, "bitsandbytes"), ("load_format", "bitsandbytes"))
_AMPERE, _ADA = (8, 0), (8, 9)


def _config(text: str) -> tuple[tuple[str, str], ...]:
    return ((_CONFIG, text),)


# FP8 needs Ada's units at first; kernels that keep the weights alone in 8 bits came with 0.5.3 for Ampere.
_ROWS = (
    AtLoad("vllm", "fp8", ((_QUANTIZATION, "fp8"),), (0, 5, 0), (0, 5, 3), _ADA),
    AtLoad("vllm", "fp8", ((_QUANTIZATION, "fp8"),), (0, 5, 3), None, _AMPERE),
    AtLoad("vllm", "nf4", _BNB, (0, 5, 0), (0, 28)),
    AtLoad("sglang", "fp8", ((_QUANTIZATION, "fp8"),), (0, 2, 0), None, _AMPERE),
    AtLoad("sglang", "fp8-channel", ((_QUANTIZATION, "w8a8_fp8"),), (0, 4, 4), None, _ADA),
    AtLoad("sglang", "nf4", _BNB, (0, 4, 1)),
    AtLoad("transformers", "int8", _config("BitsAndBytesConfig(load_in_8bit=True)"), (4, 30)),
    AtLoad("transformers", "nf4", _config('BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")'), (4, 30)),
    AtLoad(
        "transformers",
        "nf4-double",
        _config('BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)'),
        (4, 30),
    ),
    AtLoad("transformers", "fp4", _config('BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="fp4")'), (4, 30)),
    AtLoad("transformers", "quanto-int8", _config('QuantoConfig(weights="int8")'), (4, 40)),
    AtLoad("transformers", "quanto-int4", _config('QuantoConfig(weights="int4")'), (4, 40)),
    AtLoad("transformers", "quanto-float8", _config('QuantoConfig(weights="float8")'), (4, 40)),
    AtLoad("transformers", "eetq", _config('EetqConfig("int8")'), (4, 41)),
    AtLoad("transformers", "hqq-int8", _config("HqqConfig(nbits=8, group_size=64)"), (4, 43)),
    AtLoad("transformers", "hqq-int4", _config("HqqConfig(nbits=4, group_size=64)"), (4, 43)),
    AtLoad("transformers", "fp8-channel", _config("FbgemmFp8Config()"), (4, 44), None, _ADA),
    AtLoad("transformers", "torchao-int8", _config("TorchAoConfig(torchao.quantization.Int8WeightOnlyConfig())"), (4, 51)),
    AtLoad("transformers", "torchao-int4", _config("TorchAoConfig(torchao.quantization.Int4WeightOnlyConfig(group_size=128))"), (4, 51)),
    AtLoad("transformers", "torchao-fp8", _config("TorchAoConfig(torchao.quantization.Float8WeightOnlyConfig())"), (4, 51), None, _ADA),
    AtLoad("transformers", "fp8-block", _config("FineGrainedFP8Config()"), (4, 50), None, _ADA),
)

# Engines whose commands name a file or folder of the scheme themselves, or pack the weights by a setting of their own.
_NAMES_OWN_FILES = frozenset({"llama_cpp", "ktransformers", "ipex_llm"})
# Words of ``--quantization`` that read a configuration file beside the weights, which an unquantised checkpoint does not have.
_FROM_FILES = frozenset({"awq", "awq_marlin", "gptq", "gptq_marlin", "gptq_marlin_24", "marlin", "squeezellm", "modelopt", "modelopt_fp4"})


def made_at_load(case: Case) -> AtLoad | None:
    """How this case's engine makes the scheme its model was asked in; None where it cannot, or nothing was asked."""
    for row in _ROWS:
        if (row.engine, row.word) == (case.engine, case.model.word) and row.is_in(case.version.parts) and _is_able(case, row):
            return row
    return None


def _is_able(case: Case, row: AtLoad) -> bool:
    """Whether no device is known to be older than the kernels ask."""
    return all(device.compute_capability is None or device.compute_capability >= row.capability for device in case.devices)


def word_said(engine: str, release: _Release, settings: Settings) -> str | None:
    """Our word for the scheme that the settings of a command ask for; None where they ask for none that is made at load."""
    for row in _ROWS:
        name, value = row.settings[0]
        if row.engine == engine and name == _QUANTIZATION and settings.get(name) == value and row.is_in(release):
            return row.word
    return None


def stand_in(case: Case) -> tuple[str, ...]:
    """What to put in the command's place for the model, where that names the published one and the engine does not quantise it."""
    if not case.model.word or case.engine in _NAMES_OWN_FILES or made_at_load(case) is not None:
        return ()
    scheme = case.model.checkpoint.scheme
    return (f"the command names {case.model.argument} as published; put the name or path of a checkpoint stored as {scheme} in its place",)


def refused_at_load(case: Case) -> Iterator[Objection]:
    """``--quantization`` with a word that this checkpoint, or this card, has nothing for."""
    word = case.settings.text(_QUANTIZATION)
    if word is None:
        return
    if word in _FROM_FILES and not case.model.is_quantised:
        yield Objection(
            text=f"ValueError: Cannot find the config file for {word}",
            why=f"--quantization {word} reads a checkpoint stored so, and {case.model.name} is stored as {case.model.checkpoint.scheme}",
            next_step="a checkpoint stored so, or --quantization fp8, which is made while loading",
        )
    said = [
        row for row in _ROWS if row.engine == case.engine and row.settings[0] == (_QUANTIZATION, word) and row.is_in(case.version.parts)
    ]
    if said and case.model.word == said[0].word and not _is_able(case, said[0]):
        least, has = said[0].capability, min(device.compute_capability for device in case.devices if device.compute_capability is not None)
        yield Objection(
            text=(
                f"The quantization method {word} is not supported for the current GPU. Minimum capability: {least[0]}{least[1]}. "
                f"Current capability: {has[0]}{has[1]}."
            ),
            why=f"{word} needs compute capability {least[0]}.{least[1]}, and a card has {has[0]}.{has[1]}",
            next_step="a newer card, or a checkpoint stored as awq or gptq",
        )
