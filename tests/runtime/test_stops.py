"""Stop strings in a text that comes in pieces."""

from hypothesis import given
from hypothesis import strategies as st

from ullage.runtime.serve.stops import Stops

LETTERS = st.text("abc", max_size=12)


@given(st.lists(LETTERS, max_size=8), st.lists(st.text("abc", min_size=1, max_size=4), max_size=3))
def test_the_text_ends_before_the_first_stop_string_however_it_is_cut(pieces: list[str], stops: list[str]) -> None:
    held = Stops(stops)
    shown = ""
    for piece in pieces:
        shown += held.push(piece)
        if held.hit is not None:
            break
    else:
        shown += held.finish()
    whole = "".join(pieces)
    # Of stop strings that begin at different places the one that is whole first ends the text.
    ends = {stop: whole.find(stop) for stop in stops if stop in whole}
    assert (held.hit is not None) == bool(ends)
    assert shown == (whole[: whole.find(held.hit)] if held.hit is not None else whole)
    assert not any(stop in shown for stop in stops)


@given(LETTERS, st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=3))
def test_no_more_is_held_back_than_a_stop_string_could_need(text: str, stops: list[str]) -> None:
    held = Stops(stops)
    shown = "".join(held.push(letter) for letter in text)
    if held.hit is None:
        assert len(text) - len(shown) < max(map(len, stops))


def test_without_stop_strings_nothing_is_held_back() -> None:
    assert Stops(()).push("abc") == "abc"
