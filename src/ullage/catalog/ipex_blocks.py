"""IPEX-LLM's blocks: how many weights share how many bytes, as its library states them (ggml_qk_size, ggml_type_size)."""

from typing import Final

from ullage.domain.checkpoint import TensorFormat

BLOCKS: Final = {
    **dict.fromkeys(("sym_int4", "ipex_nf4", "ipex_fp4", "woq_int4"), (64, 34)),
    "asym_int4": (64, 36),
    "nf3": (64, 26),
    "sym_int5": (64, 42),
    "asym_int5": (64, 44),
    "fp6": (64, 50),
    **dict.fromkeys(("sym_int8", "fp8_e4m3", "fp8_e5m2", "ipex_fp8"), (64, 68)),
    "fp6_k": (256, 210),
}
# The k-quants have other sizes here than in GGUF files, whose words these are elsewhere.
K_BLOCKS: Final = {
    "q2_k": (256, 84),
    "q4_k": (256, 148),
    "q5_k": (256, 176),
    "q6_k": (256, 210),
    "iq2_xxs": (256, 66),
    "iq2_xs": (256, 74),
    "iq1_s": (256, 50),
}
SPELLINGS: Final = {"nf4": "ipex_nf4", "fp4": "ipex_fp4", "fp8": "ipex_fp8"}  # the library's own words, which others use as well


def block_format(word: str) -> TensorFormat | None:
    """The format of one of the library's words; None for one it has no blocks for, such as ``fp16``."""
    known = {**BLOCKS, **K_BLOCKS}.get(SPELLINGS.get(word, word))
    return None if known is None else TensorFormat(name=word, block_elements=known[0], block_bytes=known[1])
