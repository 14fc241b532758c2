"""llama.cpp's choices for each mixture: a usual type, and rules for the tensors that matter more."""

from collections.abc import Callable, Mapping

from ullage.frozen import dataclass

_MANY_HEADS = 4  # query heads for each key head from which values are worth more bits
_EIGHT = 8  # Mixtral's number of experts


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One tensor of one layer of a model."""

    word: str
    index: int
    layers: int
    experts: int
    grouped: int

    @property
    def more_bits(self) -> bool:
        """The first and last eighth of the layers, and every third between."""
        eighth = self.layers // 8
        return self.index < eighth or self.index >= 7 * self.layers // 8 or (self.index - eighth) % 3 == 2  # noqa: PLR2004 - the third

    @property
    def in_first_eighth(self) -> bool:
        """Whether the layer is among the first eighth."""
        return self.index < self.layers // 8


Rule = Callable[[Asked], str | None]
Rules = Mapping[str, Rule]


def _always(name: str) -> Rule:
    return lambda _: name


def _when(condition: Callable[[Asked], bool], name: str, other: str | None = None) -> Rule:
    return lambda asked: name if condition(asked) else other


def _before(index: int) -> Callable[[Asked], bool]:
    return lambda asked: asked.index < index


def _many_heads(asked: Asked) -> bool:
    return asked.grouped >= _MANY_HEADS


def _more_bits(asked: Asked) -> bool:
    return asked.more_bits


def _first_eighth(asked: Asked) -> bool:
    return asked.in_first_eighth


def _eight_experts(asked: Asked) -> bool:
    return asked.experts == _EIGHT


def _middle(asked: Asked) -> bool:
    return asked.layers // 8 <= asked.index < 7 * asked.layers // 8


def _with_mixtral(rules: Rules, *, out: bool) -> Rules:
    """Eight experts are worth more bits in the attention all of them share: the tensors are small."""

    def guarded(kind: str, name: str) -> Rule:
        return lambda asked: name if _eight_experts(asked) else (rules[kind](asked) if kind in rules else None)

    return {**rules, "v": guarded("v", "q8_0"), "k": guarded("k", "q8_0"), **({"o": guarded("o", "q5_k")} if out else {})}


def _iq3_m_down(asked: Asked) -> str | None:
    return "q4_k" if asked.in_first_eighth or (_eight_experts(asked) and asked.more_bits) else None


def _tiny(better: str, out: str | None) -> Rules:
    """One- and two-bit types spend more on values and on the first layers' outputs."""
    rules: dict[str, Rule] = {
        "v": _when(lambda asked: _many_heads(asked) or asked.experts >= _MANY_HEADS, "q4_k", better),
        "k": _when(_eight_experts, "q4_k"),
        "down": _when(_first_eighth, better),
        "o": _when(_eight_experts, "q5_k", out),
    }
    return rules


_Q2_K = {"v": _when(_many_heads, "q4_k", "q3_k"), "down": _always("q3_k"), "o": _always("q3_k")}
_FIRST_SIXTEENTH = _when(lambda asked: asked.index < asked.layers // 16, "q5_k", "q4_k")
_Q3_K_M = {"v": _when(_before(2), "q5_k", "q4_k"), "down": _FIRST_SIXTEENTH, "o": _always("q4_k"), "qkv": _always("q4_k")}
_Q3_K_L = {"v": _always("q5_k"), "down": _always("q5_k"), "o": _always("q5_k"), "qkv": _always("q4_k")}
_Q4_K_S = {"v": _when(_before(4), "q5_k"), "down": _when(_first_eighth, "q5_k")}
_Q4_K_M = {"v": _when(_more_bits, "q6_k"), "down": _when(_more_bits, "q6_k"), "qkv": _always("q5_k")}
_Q5_K_M = {"v": _when(_more_bits, "q6_k"), "down": _when(_more_bits, "q6_k"), "qkv": _always("q6_k")}
_IQ4 = {"v": _when(_many_heads, "q5_k"), "down": _when(_first_eighth, "q5_k")}
_IQ3_XXS = {
    "v": _when(_many_heads, "q4_k", "iq3_s"),
    "k": _always("iq2_s"),
    "q": _always("iq2_s"),
    "o": _always("iq3_s"),
}
_IQ3_XS = {"v": _when(_many_heads, "q4_k"), "k": _always("iq3_xxs"), "q": _always("iq3_xxs"), "up": _when(_middle, "iq3_xxs")}
_IQ3_M = {"v": _always("q4_k"), "down": _iq3_m_down, "o": _always("q4_k"), "qkv": _always("q4_k")}
_EXPERTS_ONLY = ("q8_0", {"up": _always("mxfp4"), "down": _always("mxfp4"), "expert_gate_up": _always("mxfp4")})

MIXTURES: Mapping[str, tuple[str, Rules]] = {
    "q8_0": ("q8_0", {}),
    "q6_k": ("q6_k", _with_mixtral({}, out=False)),
    "q5_k_m": ("q5_k", _with_mixtral(_Q5_K_M, out=False)),
    "q5_k_s": ("q5_k", _with_mixtral({}, out=False)),
    "q5_1": ("q5_1", _with_mixtral({}, out=False)),
    "q5_0": ("q5_0", _with_mixtral({}, out=False)),
    "q4_k_m": ("q4_k", _with_mixtral(_Q4_K_M, out=True)),
    "q4_k_s": ("q4_k", _with_mixtral(_Q4_K_S, out=True)),
    "q4_1": ("q4_1", _with_mixtral({}, out=False)),
    "q4_0": ("q4_0", _with_mixtral({}, out=False)),
    "iq4_nl": ("iq4_nl", _with_mixtral(_IQ4, out=True)),
    "iq4_xs": ("iq4_xs", _with_mixtral(_IQ4, out=True)),
    "q3_k_l": ("q3_k", _with_mixtral(_Q3_K_L, out=False)),
    "q3_k_m": ("q3_k", _with_mixtral(_Q3_K_M, out=True)),
    "q3_k_s": ("q3_k", _with_mixtral({}, out=True)),
    "iq3_m": ("iq3_s", _with_mixtral(_IQ3_M, out=True)),
    "iq3_s": ("iq3_s", _with_mixtral({"v": _when(_many_heads, "q4_k")}, out=True)),
    "iq3_xs": ("iq3_s", _with_mixtral(_IQ3_XS, out=True)),
    "iq3_xxs": ("iq3_xxs", _with_mixtral(_IQ3_XXS, out=True)),
    "q2_k": ("q2_k", _with_mixtral(_Q2_K, out=True)),
    "iq2_m": ("iq2_s", _tiny("iq3_s", "iq3_s")),
    "iq2_s": ("iq2_xs", _tiny("iq3_s", "iq3_s")),
    "iq2_xs": ("iq2_xs", _tiny("q2_k", None)),
    "iq2_xxs": ("iq2_xxs", _tiny("q2_k", None)),
    "iq1_m": ("iq1_m", _tiny("q2_k", "iq2_xxs")),
    "iq1_s": ("iq1_s", _tiny("q2_k", "iq2_xxs")),
    "mxfp4_moe": _EXPERTS_ONLY,
}
_TINY = ("iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq2_m")
# The output matrix where it is not q6_k, and the token table where it is not of the usual type.
OUTPUT = {**dict.fromkeys((*_TINY, "iq3_xxs"), "q5_k"), "q8_0": "q8_0", "mxfp4_moe": "q8_0"}
TOKEN_TABLE = {
    **dict.fromkeys(("iq1_s", "iq1_m", "iq2_xxs", "iq2_xs"), "q2_k"),
    **dict.fromkeys(("iq2_s", "iq2_m", "iq3_xxs"), "iq3_s"),
}
# Rows that a type's blocks of 256 do not divide get one with blocks of 32.
FALLBACK = {
    "q4_k": "q5_0",
    "q5_k": "q5_1",
    "q6_k": "q8_0",
    **dict.fromkeys(("q2_k", "q3_k", "iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq3_xxs", "iq3_s", "iq4_xs"), "iq4_nl"),
}
