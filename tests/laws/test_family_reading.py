"""Reading a configuration is total: any value under any key gives a model or an error of ours that says what is wrong."""

import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from ullage.architectures import read
from ullage.domain.hyperparameters import Hyperparameters, Json
from ullage.errors import MalformedFileError, UnsupportedModelError

CONFIGS = Path(__file__).parents[2] / "src" / "ullage" / "catalog" / "configs"


def _one_of_each_type() -> dict[str, dict[str, Json]]:
    found: dict[str, dict[str, Json]] = {}
    for path in sorted(CONFIGS.glob("*.json")):
        config = json.loads(path.read_text(encoding="utf-8"))
        found.setdefault(str(config.get("model_type")), config)
    return found


BY_TYPE = _one_of_each_type()
VALUES: st.SearchStrategy[Json] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(min_value=-2, max_value=5000),
    st.floats(min_value=-1.0, max_value=9.0),
    st.sampled_from(["", "full_attention", "gated-gelu", "yarn", "float8"]),
    st.lists(st.integers(min_value=0, max_value=9), max_size=3),
    st.just({}),
    st.dictionaries(st.sampled_from(["factor", "rope_type", "type"]), st.sampled_from([2.0, "linear", "yarn", None]), max_size=2),
)


@st.composite
def damaged(draw: st.DrawFn) -> dict[str, Json]:
    """A real configuration with up to three values replaced or keys taken away, outside or inside its nested objects."""
    config = json.loads(json.dumps(BY_TYPE[draw(st.sampled_from(sorted(BY_TYPE)))]))
    for _ in range(draw(st.integers(min_value=1, max_value=3))):
        inner = [value for value in config.values() if isinstance(value, dict) and value]
        place = draw(st.sampled_from([config, *inner]))
        key = draw(st.sampled_from(sorted(set(place) - {"model_type"} or {"none"})))
        if draw(st.booleans()):
            place[key] = draw(VALUES)
        else:
            place.pop(key, None)
    return dict(config)


@settings(max_examples=400, deadline=None)
@given(damaged())
def test_any_damage_gives_a_model_or_an_error_of_ours(config: dict[str, Json]) -> None:
    try:
        model = read(Hyperparameters(config))
    except (UnsupportedModelError, MalformedFileError):
        return
    assert model.architecture.layers
    assert all(extent > 0 for tensor in model.tensors for extent in tensor.shape)
