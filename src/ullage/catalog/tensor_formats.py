"""Every way elements are stored, with the bytes of one block."""

from ullage.domain.checkpoint import TensorFormat
from ullage.errors import UnsupportedModelError


def _plain(name: str, nbytes: int) -> TensorFormat:
    return TensorFormat(name=name, block_elements=1, block_bytes=nbytes)


F64 = _plain("float64", 8)
F32 = _plain("float32", 4)
BF16 = _plain("bfloat16", 2)
F16 = _plain("float16", 2)
FP8_E4M3 = _plain("float8_e4m3fn", 1)
FP8_E5M2 = _plain("float8_e5m2", 1)
E8M0 = _plain("float8_e8m0fnu", 1)
I64 = _plain("int64", 8)
I32 = _plain("int32", 4)
I16 = _plain("int16", 2)
I8 = _plain("int8", 1)
U8 = _plain("uint8", 1)
BOOL = _plain("bool", 1)
FP4 = TensorFormat(name="float4_e2m1", block_elements=2, block_bytes=1)
U16 = _plain("uint16", 2)
U32 = _plain("uint32", 4)
U64 = _plain("uint64", 8)
C64 = _plain("complex64", 8)
FP6_E2M3 = TensorFormat(name="float6_e2m3", block_elements=4, block_bytes=3)
FP6_E3M2 = TensorFormat(name="float6_e3m2", block_elements=4, block_bytes=3)
INT4 = TensorFormat(name="int4", block_elements=2, block_bytes=1)

MODEL_DTYPES = {
    "bfloat16": BF16,
    "float16": F16,
    "float32": F32,
    "half": F16,
    "bf16": BF16,
    "fp16": F16,
    "fp32": F32,
    "float": F32,
}


def model_dtype(word: str) -> TensorFormat:
    """The format of a model's ``torch_dtype``. Raises UnsupportedModelError."""
    name = word.removeprefix("torch.")
    if name not in MODEL_DTYPES:
        raise UnsupportedModelError(f"the model's dtype {word!r} has no known size: {', '.join(sorted(MODEL_DTYPES))} are known")
    return MODEL_DTYPES[name]


# The dtype words of safetensors headers (safetensors 0.8).
SAFETENSORS_DTYPES = {
    "BOOL": BOOL,
    "U8": U8,
    "I8": I8,
    "F8_E5M2": FP8_E5M2,
    "F8_E4M3": FP8_E4M3,
    "F8_E8M0": E8M0,
    "F8_E4M3FNUZ": _plain("float8_e4m3fnuz", 1),
    "F8_E5M2FNUZ": _plain("float8_e5m2fnuz", 1),
    "F6_E2M3": FP6_E2M3,
    "F6_E3M2": FP6_E3M2,
    "F4": FP4,
    "I16": I16,
    "U16": U16,
    "F16": F16,
    "BF16": BF16,
    "I32": I32,
    "U32": U32,
    "F32": F32,
    "I64": I64,
    "U64": U64,
    "F64": F64,
    "C64": C64,
}


def _blocks(name: str, elements: int, nbytes: int) -> TensorFormat:
    return TensorFormat(name=name, block_elements=elements, block_bytes=nbytes)


# Tensor types of GGUF files by their number (ggml 2026). Gaps are types that ggml has removed.
GGML_TYPES = {
    0: F32,
    1: F16,
    2: _blocks("q4_0", 32, 18),
    3: _blocks("q4_1", 32, 20),
    6: _blocks("q5_0", 32, 22),
    7: _blocks("q5_1", 32, 24),
    8: _blocks("q8_0", 32, 34),
    9: _blocks("q8_1", 32, 40),
    10: _blocks("q2_k", 256, 84),
    11: _blocks("q3_k", 256, 110),
    12: _blocks("q4_k", 256, 144),
    13: _blocks("q5_k", 256, 176),
    14: _blocks("q6_k", 256, 210),
    15: _blocks("q8_k", 256, 292),
    16: _blocks("iq2_xxs", 256, 66),
    17: _blocks("iq2_xs", 256, 74),
    18: _blocks("iq3_xxs", 256, 98),
    19: _blocks("iq1_s", 256, 50),
    20: _blocks("iq4_nl", 32, 18),
    21: _blocks("iq3_s", 256, 110),
    22: _blocks("iq2_s", 256, 82),
    23: _blocks("iq4_xs", 256, 136),
    24: I8,
    25: I16,
    26: I32,
    27: I64,
    28: F64,
    29: _blocks("iq1_m", 256, 56),
    30: BF16,
    34: _blocks("tq1_0", 256, 54),
    35: _blocks("tq2_0", 256, 66),
    39: _blocks("mxfp4", 32, 17),
    40: _blocks("nvfp4", 64, 36),
    41: _blocks("q1_0", 128, 18),
    42: _blocks("q2_0", 64, 18),
}
GGML_BY_NAME = {fmt.name: fmt for fmt in GGML_TYPES.values()}
_STORED = {**GGML_BY_NAME, **SAFETENSORS_DTYPES}


def stored_format(word: str) -> TensorFormat:
    """The format of a dtype word in a file's header, safetensors' or ours for GGUF types. Raises UnsupportedModelError."""
    if word not in _STORED:
        raise UnsupportedModelError(f"the stored dtype {word!r} has no known size: {', '.join(sorted(_STORED))} are known")
    return _STORED[word]
