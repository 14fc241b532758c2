import struct

import pytest
from tests.header_files import as_gguf

from ullage import formats
from ullage.architectures import read as read_config
from ullage.domain.checkpoint import Role
from ullage.domain.hyperparameters import Hyperparameters
from ullage.domain.weight_format import Header, NeedMore
from ullage.errors import MalformedFileError, UnsupportedModelError
from ullage.formats.gguf import read, split

LLAMA: dict[str, object] = {
    "general.architecture": "llama",
    "general.file_type": 15,
    "llama.block_count": 2,
    "llama.embedding_length": 256,
    "llama.feed_forward_length": 512,
    "llama.context_length": 4096,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "tokenizer.ggml.tokens": [f"token{number}" for number in range(5000)],
    "tokenizer.ggml.scores": list(range(5000)),
}


def block(index: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {
        f"blk.{index}.attn_q.weight": ("q4_k", (256, 256)),
        f"blk.{index}.attn_k.weight": ("q4_k", (128, 256)),
        f"blk.{index}.attn_v.weight": ("q6_k", (128, 256)),
        f"blk.{index}.attn_output.weight": ("q4_k", (256, 256)),
        f"blk.{index}.ffn_gate.weight": ("q4_k", (512, 256)),
        f"blk.{index}.ffn_up.weight": ("q4_k", (512, 256)),
        f"blk.{index}.ffn_down.weight": ("q6_k", (256, 512)),
        f"blk.{index}.attn_norm.weight": ("float32", (256,)),
        f"blk.{index}.ffn_norm.weight": ("float32", (256,)),
    }


TENSORS: dict[str, tuple[str, tuple[int, ...]]] = {
    "token_embd.weight": ("q4_k", (5000, 256)),
    **block(0),
    **block(1),
    "output_norm.weight": ("float32", (256,)),
    "output.weight": ("q6_k", (5000, 256)),
}


def header_of(metadata: dict[str, object], tensors: dict[str, tuple[str, tuple[int, ...]]]) -> Header:
    beginning, size = as_gguf(metadata, tensors)
    header = read(beginning, size)
    assert isinstance(header, Header)
    return header


def test_a_true_header_gives_tensors_in_pytorch_order_and_short_metadata() -> None:
    header = header_of(LLAMA, TENSORS)
    first = header.tensors[0]
    assert (first.name, first.dtype, first.shape, first.nbytes) == ("token_embd.weight", "q4_k", (5000, 256), 5000 * 144)
    metadata = dict(header.metadata)
    assert metadata["tokenizer.ggml.tokens"] == {"length": 5000}
    assert metadata["tokenizer.ggml.scores"] == {"length": 5000}


def test_a_long_header_is_read_in_a_few_steps() -> None:
    beginning, size = as_gguf(LLAMA, TENSORS)
    given, steps = 64, 0
    while isinstance(answer := read(beginning[:given], size), NeedMore):
        assert given < answer.nbytes <= size
        given, steps = answer.nbytes, steps + 1
    assert steps <= 12
    assert answer == read(beginning, size)


def test_big_endian_files_say_the_same() -> None:
    text = struct.pack(">Q", 20) + b"general.architecture" + struct.pack(">IQ", 8, 3) + b"abc"
    tensor = struct.pack(">Q", 1) + b"x" + struct.pack(">IQIQ", 1, 64, 8, 0)
    beginning = b"GGUF" + struct.pack(">IQQ", 3, 1, 1) + text + tensor
    header = read(beginning, len(beginning) + 200)
    assert isinstance(header, Header)
    assert (header.metadata, header.tensors[0].nbytes) == ((("general.architecture", "abc"),), 68)


@pytest.mark.parametrize(
    ("beginning", "words"),
    [
        (b"GGML" + bytes(60), "begins with"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**60, 0), "needs"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**60), "needs"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**63) + bytes(40), "needs"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<IIQ", 9, 8, 2**50) + bytes(40), "needs"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<I", 77) + bytes(40), "value type 77"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + struct.pack("<Q1sIQIQ", 1, b"x", 1, 64, 99, 0) + bytes(40), "tensor type 99"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + struct.pack("<Q1sIQIQ", 1, b"x", 1, 33, 8, 0) + bytes(40), "do not divide"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + struct.pack("<Q1sIQIQ", 1, b"x", 1, 2**62, 8, 0) + bytes(40), "cut off"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + struct.pack("<Q1sIQIQ", 1, b"x", 1, 32, 8, 7) + bytes(200), "aligned"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + struct.pack("<Q1sI", 1, b"x", 200) + bytes(200), "dimensions"),
    ],
)
def test_a_header_that_lies_is_refused_before_anything_is_allocated(beginning: bytes, words: str) -> None:
    with pytest.raises(MalformedFileError, match=words):
        read(beginning, len(beginning))


def test_a_cut_file_is_noticed() -> None:
    beginning, size = as_gguf(LLAMA, TENSORS)
    with pytest.raises(MalformedFileError, match="cut off"):
        read(beginning, size - 1000)


def test_the_configuration_a_file_carries_makes_a_model() -> None:
    header = header_of(LLAMA, TENSORS)
    config = formats.gguf_config(header)
    assert config["model_type"] == "llama"
    assert (config["vocab_size"], config["tie_word_embeddings"]) == (5000, False)
    blueprint = read_config(Hyperparameters(config))
    checkpoint, notes = formats.checkpoint_from_headers(blueprint, (header,), None)
    assert (checkpoint.scheme, checkpoint.exact, notes) == ("q4_k_m", True, ())
    assert checkpoint.nbytes == sum(tensor.nbytes for tensor in header.tensors)
    by_rule = {(tensor.role, tensor.layer) for tensor in blueprint.tensors}
    assert {(tensor.role, tensor.layer) for tensor in checkpoint.tensors} == by_rule


def test_stacked_experts_become_copies() -> None:
    metadata: dict[str, object] = {
        **{key.replace("llama.", "qwen3moe."): value for key, value in LLAMA.items()},
        "general.architecture": "qwen3moe",
        "qwen3moe.expert_count": 8,
        "qwen3moe.expert_used_count": 2,
        "qwen3moe.attention.key_length": 64,
        "qwen3moe.expert_feed_forward_length": 256,
    }
    tensors = {name: entry for name, entry in TENSORS.items() if ".ffn_" not in name}
    for index in range(2):
        tensors |= {f"blk.{index}.ffn_{kind}_exps.weight": ("q4_k", (8, 256, 256)) for kind in ("gate", "up", "down")}
        tensors[f"blk.{index}.ffn_gate_inp.weight"] = ("float32", (8, 256))
    header = header_of(metadata, tensors)
    config = formats.gguf_config(header)
    assert (config["num_experts"], config["moe_intermediate_size"]) == (8, 256)
    checkpoint, _ = formats.checkpoint_from_headers(read_config(Hyperparameters(config)), (header,), None)
    expert = next(tensor for tensor in checkpoint.tensors if tensor.role is Role.EXPERT_DOWN)
    assert (expert.copies, expert.shape, expert.layer) == (8, (256, 256), 0)
    assert checkpoint.nbytes == sum(tensor.nbytes for tensor in header.tensors)


def test_gate_and_up_in_one_matrix_are_known_by_their_width() -> None:
    tensors = {name: entry for name, entry in TENSORS.items() if "ffn_gate" not in name}
    tensors["blk.0.ffn_up.weight"] = ("q4_k", (1024, 256))
    header = header_of({**{k.replace("llama.", "phi3."): v for k, v in LLAMA.items()}, "general.architecture": "phi3"}, tensors)
    checkpoint, _ = formats.checkpoint_from_headers(read_config(Hyperparameters(formats.gguf_config(header))), (header,), None)
    roles = {tensor.name: tensor.role for tensor in checkpoint.tensors}
    assert (roles["blk.0.ffn_up.weight"], roles["blk.1.ffn_up.weight"]) == (Role.GATE_UP, Role.UP)


def test_a_part_of_a_split_file_says_so() -> None:
    header = header_of({"general.architecture": "llama", "split.no": 1, "split.count": 3}, {})
    assert split(header) == (1, 3)
    assert split(header_of(LLAMA, {})) is None


def test_an_architecture_without_a_family_is_named() -> None:
    header = header_of({**LLAMA, "general.architecture": "qwen9"}, TENSORS)
    with pytest.raises(UnsupportedModelError, match=r"qwen9.*qwen2"):
        formats.gguf_config(header)
