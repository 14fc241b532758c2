"""Answers in the shapes of OpenAI's chat and completions, whole and in pieces."""

from collections.abc import Sequence
from typing import Any

from ullage.frozen import dataclass
from ullage.runtime.serve.answer import Said
from ullage.text.tokenizer import Tokenizer

_LEAST_LOGPROB = -9999.0  # JSON has no minus infinity


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One request's own: what all of its objects say."""

    is_chat: bool
    id: str
    created: int
    model: str
    tokenizer: Tokenizer
    tells_logprobs: bool

    def whole(self, choices: Sequence[dict[str, Any]], usage: dict[str, Any]) -> dict[str, Any]:
        """The answer that is not streamed."""
        return self._around("chat.completion" if self.is_chat else "text_completion", choices) | {"usage": usage}

    def piece(self, choices: Sequence[dict[str, Any]], usage: dict[str, Any] | None, *, tells_usage: bool) -> dict[str, Any]:
        """One event of a stream; where usage was asked for, all but the last say null."""
        found = self._around("chat.completion.chunk" if self.is_chat else "text_completion", choices)
        return found | {"usage": usage} if tells_usage else found

    def choice(self, index: int, text: str, said: Sequence[Said], finish: str | None) -> dict[str, Any]:
        """One whole answer."""
        body = {"message": {"role": "assistant", "content": text}} if self.is_chat else {"text": text}
        return self._choice(index, body, said, finish)

    def delta(self, index: int, text: str, said: Sequence[Said], finish: str | None) -> dict[str, Any]:
        """A part of an answer."""
        body = {"delta": {"content": text} if text or finish is None else {}} if self.is_chat else {"text": text}
        return self._choice(index, body, said, finish)

    def opening(self, index: int) -> dict[str, Any]:
        """What a chat's stream begins with."""
        return self._choice(index, {"delta": {"role": "assistant", "content": ""}}, (), None)

    def _around(self, kind: str, choices: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model, "choices": list(choices)}

    def _choice(self, index: int, body: dict[str, Any], said: Sequence[Said], finish: str | None) -> dict[str, Any]:
        told = (self._of_chat(said) if self.is_chat else self._of_completion(said)) if self.tells_logprobs else None
        return {"index": index, **body, "logprobs": told, "finish_reason": finish}

    def _of_chat(self, said: Sequence[Said]) -> dict[str, Any]:
        return {
            "content": [
                {
                    **self._entry(one.token, one.logprobs.token),
                    "top_logprobs": [self._entry(token, value) for token, value in one.logprobs.top],
                }
                for one in said
            ]
        }

    def _of_completion(self, said: Sequence[Said]) -> dict[str, Any]:
        return {
            "tokens": [self._text(one.token) for one in said],
            "token_logprobs": [max(_LEAST_LOGPROB, one.logprobs.token) for one in said],
            "top_logprobs": [{self._text(token): max(_LEAST_LOGPROB, value) for token, value in one.logprobs.top} for one in said],
            "text_offset": [one.offset for one in said],
        }

    def _entry(self, token: int, value: float) -> dict[str, Any]:
        found = self.tokenizer.token_bytes(token)
        return {"token": self._text(token), "logprob": max(_LEAST_LOGPROB, value), "bytes": None if found is None else list(found)}

    def _text(self, token: int) -> str:
        return self.tokenizer.decode([token], skip_special=False)


def usage(prompt_tokens: int, answer_tokens: int, reused_tokens: int) -> dict[str, Any]:
    """What a request took."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": answer_tokens,
        "total_tokens": prompt_tokens + answer_tokens,
        "prompt_tokens_details": {"cached_tokens": reused_tokens},
    }
