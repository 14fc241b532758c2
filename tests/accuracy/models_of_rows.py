"""The model a report means: a bundled configuration by its name or an alias, and its weights in the scheme the report's words name."""

import csv
import re
from dataclasses import dataclass
from functools import cache

from tests.accuracy.rows import DATA, Row

from ullage import architectures, formats, wire
from ullage.catalog import models as catalogue
from ullage.domain.case import Model
from ullage.domain.hyperparameters import Hyperparameters, Json
from ullage.errors import InputError, UllageError

# Words of an alias that say the configuration has the right shapes only roughly, or lacks a part of the model.
_ROUGH = re.compile(
    r"class only|by class|by size|inferred|not confirmed|not in the file|lacks|text part only|not named|unknown|size not said"
)
_TAILS = re.compile(
    r"""[-_.](?:awq|gptq|gguf|exl2|exl3|fp8|nvfp4|mxfp4|bf16|fp16|int[48]|w\da\d+|\d+bit|bnb|quantized|dynamic|unsloth|autoround|auto-round|
    mixed|g\d+|sym|marlin|q\d\w*|iq\d\w*|ud|static|block|channel|\d\.\d+bpw|h\d|mtp|text|hf)(?=[-_.]|$).*""",
    re.VERBOSE,
)
_ROLES = ("-instruct", "-chat", "-it", "-base", "-hf", "-preview", "-thinking")

# What the words of a report mean, the first that matches; None is the configuration's own or the plain model.
_SCHEMES: tuple[tuple[str, str | None], ...] = (
    (r"gguf (bf16|f16|f32)\b", r"\1"),
    (r"w8a8", "w8a8"),
    (r"w4a16", "w4a16"),
    (r"w8a16", "w8a16"),
    (r"nvfp4", "nvfp4"),
    (r"mxfp4", "mxfp4"),
    (r"exl([23])\b.*?([\d.]+) ?bpw", r"exl\1-\2bpw"),
    (r"([\d.]+)bpw.*?exl([23])\b", r"exl\2-\1bpw"),
    (r"auto.?round.*awq", "awq"),
    (r"auto.?round", "gptq-int4"),
    (r"\bawq", "awq"),
    (r"gptq.*?(?:int)?([348])\b(?: ?bit)?.*?group ?(\d+)", r"gptq-int\1-g\2"),
    (r"gptq.*?(?:int)?([348])\b(?: ?bit)?", r"gptq-int\1"),
    (r"\bgptq", "gptq-int4"),
    (r"b(?:its)?n(?:and)?b(?:ytes)?.*8.?bit", "int8"),
    (r"b(?:its)?n(?:and)?b(?:ytes)?\b|\bnf4\b", "nf4"),
    (r"(sym_int[458]|asym_int[45]|woq_int4|ipex_fp[48])", r"\1"),
    (r"\b(i?q\d_(?:k_[sml]|k|\d|xs|xxs|s|m|nl))\b", r"\1"),
    (r"fp8.?dynamic|compressed.tensors.*fp8|fp8.*compressed.tensors", "fp8-dynamic"),
    (r"fp8-block", "fp8-block"),
    (r"\bfp8|_fp8", "fp8"),
    (r"\bint8\b|8.?bit", "w8a8"),
    (r"\bint4\b|4.?bit", "gptq-int4"),
    (r"\bbf16|\bbfloat16|\bfp16|\bfloat16|\bfp32|\bfloat32|\bfp ?16", None),
)
_DTYPES = (
    (r"\bfp32\b|\bfloat32\b|\bdtype[= ]float\b", "float32"),
    (r"\bfp16\b|\bfloat16\b|\bhalf\b", "float16"),
    (r"\bbf16\b|\bbfloat16\b", "bfloat16"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A configuration, and how it was found."""

    file: str
    rough: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A model, whether its shapes are only roughly known, whether its scheme was named, and the activation dtype that was said."""

    model: Model
    rough: bool
    scheme_named: bool
    dtype: str | None


@cache
def _aliases() -> dict[str, Named | None]:
    with (DATA / "ALIASES.csv").open(encoding="utf-8", newline="") as file:
        return {
            cells["name_in_corpus"].strip().lower(): Named(file=cells["config_file"], rough=bool(_ROUGH.search(cells["notes"] or "")))
            if cells["config_file"]
            else None
            for cells in csv.DictReader(file)
        }


def _named(name: str) -> Named | None:
    """By alias, by the catalogue, then by the catalogue without what a name says of quantisation, role and remarks."""
    aliases, plain = _aliases(), name.strip().lower()
    if plain in aliases:
        return aliases[plain]
    without_remark = re.sub(r"\(.*?\)", "", plain).strip()
    tried = [plain, without_remark, plain.rpartition("/")[2], without_remark.rpartition("/")[2]]
    tried += [_TAILS.sub("", word) for word in tried]
    tried += [word.removesuffix(tail) for word in tried for tail in _ROLES if word.endswith(tail)]
    tried += [word + tail for word in tried for tail in _ROLES]
    for word in dict.fromkeys(tried):
        if word in aliases:
            return aliases[word]
        found = _bundled(word)
        if found is not None:
            return Named(file=found, rough=False)
    return None


def _bundled(word: str) -> str | None:
    if not word:
        return None
    try:
        found = catalogue.lookup(word)
    except InputError:
        return None
    return found.file if found else None


def model_of(row: Row) -> Found | str:
    """The model, or why it cannot be known or read."""
    name = row.text("model")
    named = _named(name)
    if named is None:
        return "model unknown"
    words = f"{row.text('revision_or_quant')} {name}".lower()
    dtype = next(
        (dtype for pattern, dtype in _DTYPES if re.search(pattern, f"{row.text('revision_or_quant')} {row.text('other_flags')}".lower())),
        None,
    )
    said = _scheme(words)
    try:
        return Found(model=_read(named.file, said), rough=named.rough, scheme_named=said != "", dtype=dtype)
    except UllageError as error:
        return f"model not readable: {str(error)[:90]}"


def _scheme(words: str) -> str | None:
    """The scheme that the words name, None for plain weights, and an empty word where nothing is said."""
    for pattern, meaning in _SCHEMES:
        match = re.search(pattern, words)
        if match:
            return match.expand(meaning) if meaning else None
    return ""


@cache
def _read(file: str, scheme: str | None) -> Model:
    """The bundled configuration with a scheme by rule; its own scheme where none was named or where the same kind was."""
    entry = next(model for model in catalogue.bundled() if model.file == file)
    raw = wire.loads(catalogue.configuration(entry))
    assert isinstance(raw, dict), file
    config = Hyperparameters(raw)
    blueprint = architectures.read(config)
    own = formats.quantization_of(config)
    plain = formats.checkpoint(blueprint, None)
    chosen = own if scheme == "" or _same_kind(own, scheme) else _by_rule(scheme)
    stored = plain if chosen is None else formats.checkpoint(blueprint, chosen)
    return Model(
        name=entry.id,
        source=f"bundled configuration of {entry.id}",
        architecture=blueprint.architecture,
        checkpoint=stored,
        parameters=blueprint.parameters,
        unread=config.unread(),
        class_name=blueprint.architecture.class_name,
        unquantised=plain if chosen is not None else None,
    )


def _by_rule(scheme: str | None) -> Hyperparameters | None:
    return Hyperparameters(formats.named_scheme(scheme), "scheme") if scheme else None


def _same_kind(own: Hyperparameters | None, scheme: str | None) -> bool:
    """Whether a configuration's own scheme is what the words mean, so that its list of exceptions holds."""
    if own is None or not scheme:
        return False
    texts: list[Json] = [own.raw("quant_method"), own.raw("quant_algo"), own.raw("format")]
    inner = own.raw("quantization")
    if isinstance(inner, dict):
        texts.append(inner.get("quant_algo"))
    stated = " ".join(str(text) for text in texts if text).lower()
    kind = re.split(r"[-_]", scheme)[0]
    return kind in stated
