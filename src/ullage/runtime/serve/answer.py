"""One answer as it grows: tokens to text that is safe to show, with what was asked about each token."""

from typing import NamedTuple

from ullage.runtime.request import Finish, Output
from ullage.runtime.sample.logprobs import Logprobs
from ullage.runtime.serve.stops import Stops
from ullage.text.tokenizer import Detokeniser


class Said(NamedTuple):
    """A token of the answer with its logarithms; ``offset`` is where its text begins in the answer."""

    token: int
    logprobs: Logprobs
    offset: int


class Part(NamedTuple):
    """What is new: text, tokens whose text began before its end, and how the answer ended, in OpenAI's word."""

    text: str
    said: tuple[Said, ...] = ()
    finish: str | None = None


class Answer:
    """Between the engine and what a client sees."""

    def __init__(self, detokeniser: Detokeniser, stops: tuple[str, ...], least: int = 0) -> None:
        """``least``: no stop string ends the answer within so many tokens."""
        self._detokeniser, self._stops, self._least = detokeniser, Stops(stops), least
        self._read = self._shown = 0  # characters that tokens made, and those of them that were shown
        self._pending: list[Said] = []
        self.tokens = 0
        self.reused_tokens = 0

    def push(self, output: Output) -> Part:
        """The part that an output completes. After a stop string, ``finish`` is said and nothing more may come."""
        self.tokens += output.token is not None
        self.reused_tokens = max(self.reused_tokens, output.reused_tokens)
        text = ""
        if output.token is not None and output.finished is not Finish.STOP:
            if output.logprobs is not None:
                self._pending.append(Said(output.token, output.logprobs, self._read))
            piece = self._detokeniser.push(output.token)
            self._read += len(piece)
            text = self._stops.push(piece) if self.tokens > self._least else piece
        if output.finished is not None and self._stops.hit is None:
            text += self._stops.push(self._detokeniser.finish())
            if self._stops.hit is None:
                text += self._stops.finish()
        self._shown += len(text)
        finish = Finish.STOP if self._stops.hit is not None else output.finished
        return Part(text, self._told(at_end=finish is not None), finish.value if finish is not None else None)

    def _told(self, *, at_end: bool) -> tuple[Said, ...]:
        """Tokens that are shown now; at a stop string those behind the cut are left out."""
        cut = self._stops.hit is not None
        ready = [one for one in self._pending if one.offset < self._shown or (at_end and not cut)]
        self._pending = [] if at_end else self._pending[len(ready) :]
        return tuple(ready)
