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
