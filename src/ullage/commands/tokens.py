"""What counts the tokens of a text: the tokeniser that was named, the model's own, or an estimate that says it is one."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

from ullage.catalog import models as catalogue
from ullage.commands.model import is_path
from ullage.domain.weight_format import NeedMore
from ullage.errors import InputError, UllageError, WorldError
from ullage.formats.gguf import read_whole
from ullage.planning.dialogues import SYSTEM
from ullage.planning.requests import Rules
from ullage.ports import Counter, ModelFolder, World
from ullage.text.boundaries import spaces
from ullage.text.chat import chat_template, chat_template_from_gguf, render
from ullage.text.estimate import estimate_tokens
from ullage.text.opening import open_tokenizer, tokenizer_from_gguf

T = TypeVar("T")

_FIRST_BYTES = 1 << 22
_CHAT = tuple({"role": role, "content": "word"} for role in ("user", "assistant", "user"))


class Estimate:
    """Tokens by the bytes of a text."""

    name = "estimate of a token for every 4 bytes of UTF-8"
    is_exact = False

    def count(self, texts: Sequence[str]) -> list[int]:
        """As the port says."""
        return [estimate_tokens(len(text.encode())).expected for text in texts]

    def count_batches(self, batches: Iterable[tuple[T, list[str]]]) -> Iterator[tuple[T, list[int]]]:
        """As the port says."""
        for item, texts in batches:
            yield item, self.count(texts)

    def boundaries(self, text: str) -> Sequence[int]:
        """As the port says: spaces."""
        return spaces(text)


class Found(NamedTuple):
    """What counts, what the model's chat template adds, and what to say of both."""

    counter: Counter
    added: Rules = Rules()
    notes: tuple[str, ...] = ()

    def around(self, rules: Rules) -> Rules:
        """The rules with what the template adds."""
        added = self.added
        return rules._replace(
            message_tokens=added.message_tokens,
            reply_tokens=added.reply_tokens,
            begin_tokens=added.begin_tokens,
            led_tokens=added.led_tokens,
        )


class _Opened(NamedTuple):
    counter: Counter
    template: Callable[[], str | None]


def find_counter(tokenizer: str | None, model: str | None, world: World, *, nbytes: int) -> Found:
    """What counts, and a note where it is an estimate. Raises every error where ``--tokenizer`` was said; the model's may be missing."""
    if tokenizer is not None:
        opened = _open(tokenizer, world, nbytes)
        if opened is None:
            if is_path(tokenizer) and world.models.local(tokenizer) is None:
                raise WorldError(f"--tokenizer {tokenizer} does not exist: check the path, or give a Hub id")
            raise InputError(f"--tokenizer {tokenizer} has no tokenizer.json and is no GGUF file: give one of these, a folder or a Hub id")
        return _with_template(opened)
    why = "no model and no tokeniser was named: give --tokenizer or --model"
    if model is not None:
        try:
            opened = _open(model, world, nbytes)
        except UllageError as error:
            opened, why = None, str(error)
        else:
            why = f"{model} has no tokenizer.json at hand: give --tokenizer PATH"
        if opened is not None:
            return _with_template(opened)
    return Found(Estimate(), notes=(f"lengths are estimated, a token for every 4 bytes of text, as {why}",))


def _with_template(opened: _Opened) -> Found:
    """With what the template adds, seen from a chat of one message and of three."""
    counter = opened.counter
    try:
        template = opened.template()
        if template is None:
            return Found(counter, notes=("no chat template was found: texts alone are counted (--message-tokens adds to them)",))
        one, three = (render(template, _CHAT[:count]) for count in (1, 3))
        word, short, long = counter.count([_CHAT[0]["content"], one, three])
    except UllageError as error:
        return Found(counter, notes=(f"what the chat template adds is not counted: {error}",))
    pair = max(0, long - short - 2 * word)  # around a reply and the question after it, which always go together
    each = max(0, min(pair // 2, short - word))
    reply, begin = pair - each, max(0, short - word - each)
    said = f"the chat template adds {_around(each, reply)} and {begin} once for each request"
    led = _led_tokens(counter, template, 2 * (word + each))
    said = said if led in (None, begin) else f"{said}, {led} where that has a system message of its own"
    return Found(counter, Rules(message_tokens=each, reply_tokens=reply, begin_tokens=begin, led_tokens=led), (said,))


def _around(each: int, reply: int) -> str:
    return f"{each} tokens around each message" if each == reply else f"{each} tokens around each question, {reply} around each reply"


def _led_tokens(counter: Counter, template: str, own: int) -> int | None:
    """What the template adds once to a chat that a system message leads, ``own`` tokens being its two messages'; None if it takes none."""
    try:
        text = render(template, ({**_CHAT[0], "role": SYSTEM}, _CHAT[0]))
    except UllageError:
        return None
    return max(0, counter.count([text])[0] - own)


def _open(word: str, world: World, nbytes: int) -> _Opened | None:
    folder = world.models.local(word) if word.endswith(".gguf") else None
    if folder is None:
        files = world.data.tokenizer_files(word)
        known = catalogue.lookup(word) if files is None else None
        files = world.data.tokenizer_files(known.id) if known is not None else files
        if files is not None:
            counter = world.data.counter(f"the tokeniser of {word}", partial(open_tokenizer, files), nbytes=nbytes)
            return _Opened(counter, partial(chat_template, files))
    if folder is None and "/" not in word:
        return None
    folder = folder or world.models.local(word)
    if folder is None or not any(weight.name.endswith(".gguf") for weight in folder.weights):
        return None
    metadata = gguf_metadata(folder)
    counter = world.data.counter(f"the tokeniser of {folder.name}", partial(tokenizer_from_gguf, metadata), nbytes=nbytes)
    return _Opened(counter, partial(chat_template_from_gguf, metadata))


def gguf_metadata(folder: ModelFolder) -> Mapping[str, object]:
    """The whole metadata of a GGUF file, reading as much of its beginning as it needs."""
    file = folder.weights[0]
    wanted = min(_FIRST_BYTES, file.nbytes)
    while True:
        found = read_whole(file.beginning(wanted), file.nbytes)
        if not isinstance(found, NeedMore):
            return dict(found.header.metadata)
        wanted = min(max(found.nbytes, 2 * wanted), file.nbytes)
