"""What a server would be asked, by the counts of a dialogue's messages, and what of it is kept."""

from collections.abc import Sequence
from typing import NamedTuple

from ullage.errors import InputError
from ullage.planning.dialogues import ASSISTANT, SYSTEM, Dialogue

EVERY, FIRST, LAST = "every", "first", "last"
WHICH = (EVERY, FIRST, LAST)


class Asked(NamedTuple):
    """One request: tokens of its prompt and of its answer."""

    prompt_tokens: int
    output_tokens: int


class Rules(NamedTuple):
    """Which replies of a dialogue are requests, and the answer of a record that has none.

    A chat's template adds ``message_tokens`` around each message, ``reply_tokens`` around a reply (None: the same), and ``begin_tokens``
    once: before the first and where the answer begins; ``led_tokens`` instead where the first is a system message, in place of which
    many templates bring their own (None: the same).
    """

    which: str = EVERY
    message_tokens: int = 0
    begin_tokens: int = 0
    answer_tokens: int = 0
    led_tokens: int | None = None
    reply_tokens: int | None = None


class Limits(NamedTuple):
    """What a record may have, in tokens; None is no limit. The longest of its requests counts."""

    max_prompt: int | None = None
    max_total: int | None = None
    min_prompt: int | None = None
    min_output: int | None = None
    min_turns: int | None = None


def requests_of(dialogue: Dialogue, counts: Sequence[int], rules: Rules) -> tuple[Asked, ...]:
    """Every reply with a message before it is a request, whose prompt is all that stands before; a record without one is one request."""
    if dialogue.prompt_tokens is not None:
        return (Asked(dialogue.prompt_tokens, rules.answer_tokens if dialogue.answer_tokens is None else dialogue.answer_tokens),)
    is_led = bool(dialogue.messages) and dialogue.messages[0].role == SYSTEM and rules.led_tokens is not None
    begin = (rules.led_tokens or 0) if is_led else rules.begin_tokens
    each, begin = (rules.message_tokens, begin) if dialogue.is_chat else (0, 0)
    reply = each if rules.reply_tokens is None or not dialogue.is_chat else rules.reply_tokens
    found, before = [], 0
    for message, count in zip(dialogue.messages, counts, strict=True):
        if message.role == ASSISTANT and before:
            found.append(Asked(before + begin, count))
        before += count + (reply if message.role == ASSISTANT else each)
    if not found:
        said = dialogue.answer_tokens
        return (Asked(before + begin, rules.answer_tokens if said is None else said),)
    return {EVERY: tuple(found), FIRST: tuple(found[:1]), LAST: tuple(found[-1:])}[rules.which]


def turns_of(dialogue: Dialogue) -> int:
    """Replies, and at least one question."""
    return max(1, sum(message.role == ASSISTANT for message in dialogue.messages))


def check_limits(limits: Limits) -> None:
    """Raises InputError where no record could be kept."""
    if limits.max_prompt and limits.min_prompt and limits.min_prompt > limits.max_prompt:
        raise InputError(f"--min-prompt {limits.min_prompt} is above --max-prompt {limits.max_prompt}: no record has such a prompt")


def reason_to_drop(asked: tuple[Asked, ...], turns: int, limits: Limits) -> str:
    """Why a record is not kept, in a sentence with its numbers; empty for one that is."""
    prompt = max(one.prompt_tokens for one in asked)
    output = max(one.output_tokens for one in asked)
    total = max(one.prompt_tokens + one.output_tokens for one in asked)
    if limits.max_prompt is not None and prompt > limits.max_prompt:
        return f"prompt of {prompt} tokens is above --max-prompt {limits.max_prompt}"
    if limits.max_total is not None and total > limits.max_total:
        return f"prompt and answer of {total} tokens are above --max-total {limits.max_total}"
    if limits.min_prompt is not None and prompt < limits.min_prompt:
        return f"prompt of {prompt} tokens is below --min-prompt {limits.min_prompt}"
    if limits.min_output is not None and output < limits.min_output:
        return f"answer of {output} tokens is below --min-output {limits.min_output}"
    if limits.min_turns is not None and turns < limits.min_turns:
        return f"{turns} turns are below --min-turns {limits.min_turns}"
    return ""


def is_too_long(asked: tuple[Asked, ...], limits: Limits) -> bool:
    """Whether a limit on length, which a rewriting can keep, is passed."""
    return reason_to_drop(asked, 1, limits._replace(min_prompt=None, min_output=None, min_turns=None)) != ""
