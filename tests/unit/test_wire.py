import pytest

from ullage import wire
from ullage.architectures import read
from ullage.domain.architecture import Architecture, LatentAttention, Layer
from ullage.domain.case import Settings
from ullage.domain.family import Blueprint
from ullage.domain.hyperparameters import Hyperparameters, Json
from ullage.domain.ledger import Amount, Entry, Phase, Purpose
from ullage.errors import MalformedFileError

LLAMA: dict[str, Json] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 100,
    "torch_dtype": "bfloat16",
}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'{"a": 1, "a": 2}', "stands twice"),
        (b'{"a": 1e999}', "too large"),
        (b'{"a": ' + b"9" * 5000 + b"}", "cannot be|can be|digits"),
        (b"[" * 100_000, "nested|offset"),
        (b"[" * 80 + b"]" * 80, "nested"),
        (b'{"a" 1}', "offset 5"),
        (b"\xff\xfe", "UTF-8"),
        (b'"\\ud800"', "surrogate"),
        (b"", "offset 0"),
    ],
)
def test_hostile_json_is_refused_with_a_reason(text: bytes, words: str) -> None:
    with pytest.raises(MalformedFileError, match=words):
        wire.loads(text)


def test_what_no_number_is_becomes_null() -> None:
    assert wire.loads(b'{"a": NaN, "b": [0.0, Infinity, -Infinity]}') == {"a": None, "b": [0.0, None, None]}


def test_true_json_comes_back_as_it_was() -> None:
    value = {"a": [1, 2.5, None, True, "ü😀"], "b": {"c": {}}}
    assert wire.loads(wire.dumps(value)) == value
    assert wire.loads(b"\xef\xbb\xbf" + wire.dumps(value).encode()) == value
    assert wire.loads('"\\ud83d\\ude00"') == "😀"


def test_a_blueprint_comes_back_equal_over_the_wire() -> None:
    blueprint = read(Hyperparameters(LLAMA))
    text = wire.dumps(wire.to_wire(blueprint))
    assert wire.from_wire(Blueprint, wire.loads(text)) == blueprint


def test_values_that_could_be_one_of_several_kinds_come_back_as_what_they_were() -> None:
    layer = Layer(mixers=(LatentAttention(query_heads=1, latent_dim=2, rope_dim=3, nope_dim=4, value_dim=5),), feed_forward=None)
    entry = Entry(device="gpu0", purpose=Purpose.WEIGHTS, phase=Phase.RESIDENT, amount=Amount(1, 2, 3), budgeted=True, because="x")
    settings = Settings.of({"a": 1, "b": True, "c": None, "d": 0.5, "e": "x"})
    for value in (layer, entry, settings):
        again = wire.from_wire(type(value), wire.loads(wire.dumps(wire.to_wire(value))))
        assert again == value
        assert repr(again) == repr(value)


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        {"schema": 1, "type": "Layer"},
        {"schema": 99, "type": "Architecture", "value": {}},
        {"schema": 1, "type": "Architecture", "value": {"name": 5}},
        {"schema": 1, "type": "Architecture", "value": 7},
    ],
)
def test_what_is_not_of_the_type_is_refused(data: Json) -> None:
    with pytest.raises(MalformedFileError):
        wire.from_wire(Architecture, data)
