import pytest
from hypothesis import given
from hypothesis import strategies as st

from ullage.catalog.devices import devices, find, lookup
from ullage.errors import InputError
from ullage.units import GB, GiB


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("H100", "H100-80GB"),
        ("NVIDIA H100 80GB HBM3", "H100-80GB"),
        ("H800-80GB", "H800-80GB"),
        ("A100", "A100-80GB"),
        ("NVIDIA A100-SXM4-40GB", "A100-40GB"),
        ("a100 40gb", "A100-40GB"),
        ("4090", "RTX 4090-24GB"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090-24GB"),
        ("rtx-4090", "RTX 4090-24GB"),
        ("4090-24GB", "RTX 4090-24GB"),
        ("4070Ti", "RTX 4070 Ti-12GB"),
        ("A10", "A10-24GB"),
        ("A10G", "A10G-24GB"),
        ("A6000", "RTX A6000-48GB"),
        ("Tesla T4", "T4-16GB"),
        ("Intel(R) Arc(TM) A770 Graphics", "Arc A770-16GB"),
        ("RX7900XTX", "RX 7900 XTX-24GB"),
        ("Max 1550", "Data Center Max 1550-64GB"),
        ("M2 Ultra", "M2 Ultra-192GB"),
    ],
)
def test_a_card_is_found_by_every_usual_spelling(word: str, name: str) -> None:
    assert find(word).name == name


@pytest.mark.parametrize(
    ("word", "low", "high"),
    [
        ("H100", 79.1, 79.6),
        ("A100-80GB", 79.14, 79.25),
        ("A100-40GB", 39.39, 39.56),
        ("L4", 22.05, 22.5),
        ("A770", 15.11, 15.9),
        ("5090", 31.36, 31.84),
        ("3090", 23.58, 23.69),
        ("H200", 139.8, 140.0),
        ("B200", 178.0, 179.0),
    ],
)
def test_the_reported_total_lies_where_logs_show_it(word: str, low: float, high: float) -> None:
    assert low <= round(find(word).reported_bytes / GiB, 2) <= high


@pytest.mark.parametrize("model", devices(), ids=lambda model: model.name)
def test_a_card_reports_no_more_than_its_label_and_the_range_is_in_order(model) -> None:  # noqa: ANN001 - the parameter's own type
    assert 0 < model.low_bytes <= model.reported_bytes <= model.high_bytes
    assert model.reported_bytes <= model.nominal_gb * GiB
    assert model.low_bytes > model.nominal_gb * GB * 0.65


def test_no_two_cards_share_a_name() -> None:
    words = [word for model in devices() for word in set(model.words)]
    assert len(words) == len(set(words))


@pytest.mark.parametrize("model", devices(), ids=lambda model: model.name)
def test_every_card_is_found_by_its_own_name(model) -> None:  # noqa: ANN001 - as above
    assert lookup(model.name) == model


def test_every_cuda_card_has_a_compute_capability() -> None:
    assert all((model.compute_capability is not None) == (model.kind == "cuda") for model in devices())


def test_an_unknown_card_names_the_nearest() -> None:
    with pytest.raises(InputError, match="RTX 4090"):
        find("RTX 4091")


@given(st.text(max_size=30))
def test_any_word_is_a_card_or_nothing(word: str) -> None:
    lookup(word)
