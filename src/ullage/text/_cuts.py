"""How byte-level vocabularies in GGUF files cut text before merging, by the name that ``tokenizer.ggml.pre`` holds.

The patterns are those of the models' own ``tokenizer.json``; the names are llama.cpp's (``src/llama-vocab.cpp`` of release b11434). Each is
applied in turn to the pieces of the one before, and what does not match stays a piece of its own.
"""

from typing import NamedTuple

from ullage.errors import UnsupportedModelError

_CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_ENDS = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA3 = rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|{_ENDS}"
_QWEN2 = rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}|{_ENDS}"
_QWEN35 = rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SEED = rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+"
_BAILING = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
_SLASHED = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def _cased(upper: str, lower: str, contraction: str) -> str:
    """A word with its capitals before its small letters, as newer vocabularies cut."""
    return rf"[^\r\n\p{{L}}\p{{N}}]?[{upper}]*[{lower}]+{contraction}|[^\r\n\p{{L}}\p{{N}}]?[{upper}]+[{lower}]*{contraction}"


_TEKKEN = rf"{_cased(_UPPER, _LOWER, '')}|\p{{N}}|{_SLASHED}"
_GPT4O = rf"{_cased(_UPPER, _LOWER, _CONTRACTION + '?')}|\p{{N}}{{1,3}}|{_SLASHED}"
_NO_HAN = r"&&[^\p{Han}]"
KIMI = rf"[\p{{Han}}]+|{_cased(_UPPER + _NO_HAN, _LOWER + _NO_HAN, _CONTRACTION + '?')}|\p{{N}}{{1,3}}|{_ENDS}"
QWEN = _QWEN2

_KANA_AND_HAN = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
_DEEPSEEK3 = (
    r"\p{N}{1,3}",
    _KANA_AND_HAN,
    (
        r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|"""
        r"""[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
    ),
)
_CASED_LETTERS = (  # the letters with a small and a capital form, which DeepSeek LLM keeps together
    "A-Za-z"
    "\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373\u0376\u0377\u037b-\u037d"
    "\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5"
    "\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45"
    "\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc"
    "\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124"
    "\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4"
    "\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06"
    "\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-\U00010cb2"
    "\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943"
)
_HAN_AND_HANGUL = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
_DEEPSEEK_LLM = (
    r"[\r\n]",
    rf"\s?[{_CASED_LETTERS}]+",
    "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+",
    r"\s+$",
    _HAN_AND_HANGUL,
    r"\p{N}",
)
_DEEPSEEK_CODER = (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _HAN_AND_HANGUL, r"\p{N}")
_BLOOM = " ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+"
_DIGITS = (r"\p{N}", _GPT2)
_FALCON = (r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, "[0-9][0-9][0-9]")


class Cut(NamedTuple):
    """Patterns in turn.

    ``whole_first``: a piece that is a token by itself is not built by merging.
    ``begins``: a text begins with BOS where the file does not say.
    """

    patterns: tuple[str, ...]
    whole_first: bool = False
    begins: bool = False


_NAMES = {
    Cut(
        (_GPT2,)
    ): "gpt-2 phi-2 mpt olmo jais trillion granite-docling gigachat a.x-4.0 mellum modern-bert exaone4 roberta-bpe jina-v2-code",
    Cut(_DIGITS): "smollm starcoder refact command-r codeshell exaone minerva-7b mellum2",
    Cut((_LLAMA3,), whole_first=True, begins=True): "llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2",
    Cut((_LLAMA3,), whole_first=True): "glm4 glm5",
    Cut((_LLAMA3,)): "dbrx smaug-bpe chatglm-bpe",
    Cut((_QWEN2,)): "qwen2 deepseek-r1-qwen kormo megrez stablelm2 hunyuan solar-open grok-2",
    Cut((_QWEN35,)): "qwen35",
    Cut((_SEED,)): "seed-coder",
    Cut((_BAILING,)): "bailingmoe bailingmoe2 llada-moe",
    Cut((_TEKKEN,), whole_first=True, begins=True): "tekken",
    Cut((_GPT4O,)): "gpt-4o llama4 kanana2 minimax-m2",
    Cut((KIMI,)): "kimi-k2",
    Cut(_DEEPSEEK_LLM): "deepseek-llm",
    Cut(_DEEPSEEK_CODER): "deepseek-coder",
    Cut(_DEEPSEEK3): "deepseek-v3 hunyuan-dense joyai-llm",
    Cut(_FALCON): "falcon",
    Cut((_BLOOM,)): "bloom poro-chat gpt3-finnish",
    Cut((_BLOOM, r"\p{N}")): "viking",
}
_CUTS = {name: cut for cut, names in _NAMES.items() for name in names.split()}


def cut_of(name: object) -> Cut:
    """How the pre-tokeniser of that name cuts. Raises UnsupportedModelError naming the known ones."""
    if not isinstance(name, str) or name not in _CUTS:
        raise UnsupportedModelError(
            f"tokenizer.ggml.pre is {str(name)[:60]!r}; known are {', '.join(sorted(_CUTS))}; "
            "or put the model's tokenizer.json beside the file"
        )
    return _CUTS[name]
