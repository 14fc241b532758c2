"""What a model reads and says: its tokeniser, its chat templates and the words they need, from its files or its GGUF metadata."""

from collections.abc import Mapping, Sequence
from typing import Any

from ullage import wire
from ullage.errors import InputError
from ullage.frozen import dataclass
from ullage.text import chat, opening
from ullage.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """``template`` is None where the model has none, ``tool_template`` is another one only where the model has two."""

    tokenizer: Tokenizer
    template: str | None = None
    tool_template: str | None = None
    bos_token: str | None = None
    eos_token: str | None = None

    def render(self, messages: Sequence[chat.Message], *, tools: Sequence[Mapping[str, Any]] | None = None, **extra: Any) -> str:
        """The text of a chat, ready for ``encode``. Raises InputError, also where the model has no template."""
        template = self.tool_template if tools and self.tool_template is not None else self.template
        if template is None:
            raise InputError("the model has no chat template: use /v1/completions, or put chat_template.jinja into its folder")
        words: dict[str, Any] = {"add_generation_prompt": True, **extra, "bos_token": self.bos_token, "eos_token": self.eos_token}
        return chat.render(template, messages, tools=tools, **words)


def language_of(documents: Mapping[str, bytes], metadata: Mapping[str, object]) -> Language:
    """By ``tokenizer.json`` and the other files, else by the metadata. Raises UnsupportedModelError and MalformedFileError."""
    return _of_metadata(metadata) if metadata and "tokenizer.json" not in documents else _of_files(documents)


def _of_files(documents: Mapping[str, bytes]) -> Language:
    settings = wire.loads(documents["tokenizer_config.json"]) if "tokenizer_config.json" in documents else {}
    words = settings if isinstance(settings, dict) else {}
    return Language(
        tokenizer=opening.open_tokenizer(documents),
        template=chat.chat_template(documents),
        tool_template=chat.chat_template(documents, tools=True),
        bos_token=_word(words.get("bos_token")),
        eos_token=_word(words.get("eos_token")),
    )


def _of_metadata(metadata: Mapping[str, object]) -> Language:
    pieces = metadata.get("tokenizer.ggml.tokens")
    known = pieces if isinstance(pieces, list | tuple) else ()

    def word(name: str) -> str | None:
        at = metadata.get(f"tokenizer.ggml.{name}_token_id")
        return str(known[at]) if isinstance(at, int) and 0 <= at < len(known) else None

    return Language(
        tokenizer=opening.tokenizer_from_gguf(metadata),
        template=chat.chat_template_from_gguf(metadata),
        tool_template=chat.chat_template_from_gguf(metadata, tools=True),
        bos_token=word("bos"),
        eos_token=word("eos"),
    )


def _word(said: object) -> str | None:
    """A token's text, or the ``content`` of its object."""
    found = said.get("content") if isinstance(said, dict) else said
    return found if isinstance(found, str) else None
