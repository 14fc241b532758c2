"""Which engine loads weights of which scheme, what a scheme costs, and the words worth comparing.

A scheme is known by the first word of its name. Engines without a row for it, and schemes without a row, are left to the engine's own
objections. The cost is a class and no measurement: about eight bits lose little, fewer lose more, and a kernel that unpacks to a wider
type in every step is slow.
"""

from typing import NamedTuple

from ullage.domain.advice import CostClass

_SERVERS = frozenset({"vllm", "sglang", "transformers"})
_GGUF = frozenset({"llama_cpp", "ktransformers"})

# First word of a scheme's name: the engines that load such weights as they are stored.
_READERS: dict[str, frozenset[str]] = {
    "awq": _SERVERS,
    "gptq": _SERVERS | {"exllamav2"},
    "fp8": _SERVERS | {"ktransformers"},
    "compressed-tensors": _SERVERS,
    "modelopt": frozenset({"vllm", "sglang"}),
    "mxfp4": frozenset({"vllm", "sglang", "transformers", "llama_cpp"}),
    "bitsandbytes": _SERVERS,
    "torchao": _SERVERS,
    "hqq": frozenset({"transformers"}),
    "quanto": frozenset({"transformers"}),
    "eetq": frozenset({"transformers"}),
    "gguf": _GGUF,
    "exl2": frozenset({"exllamav2"}),
    "exl3": frozenset({"exllamav3"}),
    "ipex-llm": frozenset({"ipex_llm"}),
}


class Quantisation(NamedTuple):
    """A word for ``--quant`` worth comparing: its nominal bits, what it costs and the engines it is compared for."""

    word: str
    bits: float
    cost: CostClass
    engines: frozenset[str]


_SMALL, _SPEED, _QUALITY = CostClass.SMALL_QUALITY, CostClass.SPEED, CostClass.QUALITY


def _rows(engines: frozenset[str], *rows: tuple[str, float, CostClass]) -> tuple[Quantisation, ...]:
    return tuple(Quantisation(word, bits, cost, engines) for word, bits, cost in rows)


QUANTISATIONS: tuple[Quantisation, ...] = (
    *_rows(_SERVERS, ("fp8", 8, _SMALL)),
    *_rows(_SERVERS | {"exllamav2"}, ("gptq-int8", 8, _SMALL)),
    *_rows(_SERVERS, ("awq", 4, _QUALITY)),
    *_rows(_SERVERS | {"exllamav2"}, ("gptq-int4", 4, _QUALITY)),
    *_rows(frozenset({"transformers"}), ("int8", 8, _SPEED), ("nf4", 4, _QUALITY)),
    *_rows(
        frozenset({"exllamav2"}),
        ("exl2-8.0bpw", 8, _SMALL),
        ("exl2-6.0bpw", 6, _SMALL),
        ("exl2-5.0bpw", 5, _SMALL),
        ("exl2-4.0bpw", 4, _QUALITY),
        ("exl2-3.0bpw", 3, _QUALITY),
    ),
    *_rows(
        frozenset({"exllamav3"}),
        ("exl3-8.0bpw", 8, _SMALL),
        ("exl3-6.0bpw", 6, _SMALL),
        ("exl3-5.0bpw", 5, _SMALL),
        ("exl3-4.0bpw", 4, _QUALITY),
        ("exl3-3.0bpw", 3, _QUALITY),
        ("exl3-2.0bpw", 2, _QUALITY),
    ),
    *_rows(
        _GGUF,
        ("q8_0", 8.5, _SMALL),
        ("q6_k", 6.56, _SMALL),
        ("q5_k_m", 5.7, _SMALL),
        ("q4_k_m", 4.85, _QUALITY),
        ("q3_k_m", 3.9, _QUALITY),
        ("q2_k", 3.0, _QUALITY),
    ),
    *_rows(
        frozenset({"ipex_llm"}),
        ("sym_int8", 8, _SMALL),
        ("fp8_e5m2", 8, _SMALL),
        ("fp6", 6, _SMALL),
        ("sym_int5", 5, _SMALL),
        ("sym_int4", 4, _QUALITY),
    ),
)


def words_for(engine: str) -> tuple[Quantisation, ...]:
    """What is compared for an engine, the widest first."""
    return tuple(sorted((row for row in QUANTISATIONS if engine in row.engines), key=lambda row: -row.bits))


def reads(engine: str, scheme: str) -> bool:
    """Whether an engine loads weights of a scheme of this name; what has no row is not ruled out here."""
    readers = _READERS.get(scheme.lower().partition(" ")[0])
    return readers is None or engine in readers
