"""How many tokens the prompts of a request have: by the model's tokeniser and chat template, or bounded by bytes."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ullage.errors import UllageError
from ullage.frozen import dataclass, replace
from ullage.text import chat
from ullage.text.tokenizer import Tokenizer
from ullage.world.proxy.asked import Asked

MESSAGE_TOKENS = 16  # markup around one message, in the bound
TEMPLATE_TOKENS = 256  # what a template may say of itself, in the bound


LONG_CHARACTERS, SPARE_CHARACTERS = 8, 1 << 16  # of a text: for each token that fits, and beside these, before its end is left uncounted
_CUT_TOKENS = 64  # that the end of a text could take from the tokens before it


class Count(NamedTuple):
    """Tokens of each sequence's prompt; not ``is_exact``: at most so many; ``is_least``: so many and more, as the rest was not counted."""

    prompts: tuple[int, ...]
    is_exact: bool
    is_least: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptCounter:
    """A tokeniser and the chat template of its model; without them counts are bounds: no token is less than a byte of UTF-8."""

    tokenizer: Tokenizer | None = None
    template: str | None = None
    bos_token: str | None = None
    eos_token: str | None = None
    item_tokens: int = 0

    def count(self, asked: Asked, longest: int | None = None) -> Count:
        """The prompts of all sequences that the engine would run, copies among them; of a text far beyond ``longest`` tokens its begin."""
        exact = self._exactly(asked, longest) if self.tokenizer is not None and not asked.items else None
        counts = _bounds(asked, self.item_tokens) if exact is None else tuple(count for count, _ in exact)
        is_exact = exact is not None or not (asked.texts or asked.messages)
        is_least = exact is not None and any(is_least for _, is_least in exact)
        return Count((*counts, *asked.exact_tokens) * asked.copies, is_exact, is_least)

    def _exactly(self, asked: Asked, longest: int | None) -> tuple[tuple[int, bool], ...] | None:
        """None where the template does not take these messages: then the engine's own answer is better than ours."""
        if not asked.messages:
            return tuple(self._tokens(text, longest, add_special=True) for text in asked.texts)
        if self.template is None:
            return None
        said = asked.document.get("chat_template_kwargs")
        extra = {key: value for key, value in said.items() if key != "now"} if isinstance(said, dict) else {}
        try:
            text = chat.render(
                self.template,
                asked.messages,
                bos_token=self.bos_token,
                eos_token=self.eos_token,
                tools=asked.tools or None,
                **{"add_generation_prompt": asked.document.get("add_generation_prompt") is not False, **extra},
            )
        except (UllageError, TypeError):
            return None
        return (self._tokens(text, longest, add_special=False),)

    def _tokens(self, text: str, longest: int | None, *, add_special: bool) -> tuple[int, bool]:
        """How many, and whether there are more: all tokens of a text that can never fit would take more memory than the guard has."""
        assert self.tokenizer is not None  # noqa: S101 - asked by the caller
        if longest is not None and len(text) > (begin := longest * LONG_CHARACTERS + SPARE_CHARACTERS):
            least = len(self.tokenizer.encode(text[:begin], add_special=add_special)) - _CUT_TOKENS
            if least > longest:
                return least, True
        return len(self.tokenizer.encode(text, add_special=add_special)), False  # one text is quicker here than in another thread


def _bounds(asked: Asked, item_tokens: int) -> tuple[int, ...]:
    """Bytes of UTF-8; of a chat all its words together with room for markup and images."""
    if not asked.messages:
        return tuple(len(text.encode(errors="replace")) + 1 for text in asked.texts)
    words = sum(len(word.encode(errors="replace")) for word in _words([*asked.messages, *asked.tools]))
    return (words + MESSAGE_TOKENS * len(asked.messages) + TEMPLATE_TOKENS + item_tokens * asked.items,)


def _words(value: Any) -> Iterator[str]:
    """Every text that a template could print, save the addresses and bytes of images."""
    match value:
        case str():
            yield value
        case dict():
            for key, item in value.items():
                yield str(key)
                if not (key in {"url", "data", "image_url", "input_audio"} and isinstance(item, str | dict)):
                    yield from _words(item)
        case list():
            for item in value:
                yield from _words(item)
        case _:
            yield str(value)


def counter_of(documents: Mapping[str, bytes], metadata: Mapping[str, object], item_tokens: int) -> PromptCounter:
    """The counter of a model's files or of its GGUF metadata; the bound where neither holds a vocabulary that can be read."""
    counter = _reader_of(documents, metadata)
    counter = replace(counter, item_tokens=item_tokens)
    counter.count(Asked(document={}, messages=({"role": "user", "content": "first"},)))  # what is made on first use is made now
    return counter


def _reader_of(documents: Mapping[str, bytes], metadata: Mapping[str, object]) -> PromptCounter:
    from ullage.text.language import language_of

    if "tokenizer.json" not in documents and not metadata:
        return PromptCounter()
    try:
        found = language_of(documents, metadata)
    except UllageError:
        return PromptCounter()
    return PromptCounter(tokenizer=found.tokenizer, template=found.template, bos_token=found.bos_token, eos_token=found.eos_token)
