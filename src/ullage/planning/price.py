"""What a request costs, or why it can never fit."""

from ullage.domain.admission import Arrived, CostModel, Limits, Refuse, Ticket
from ullage.frozen import replace
from ullage.units import format_count


def price(cost: CostModel, limits: Limits, asked: Arrived) -> tuple[Ticket, int | None] | Refuse:
    """The ticket and the number of tokens its answer is capped to, if any; or the refusal.

    A prompt that is only bounded is never refused for its length: what it may take at most is held back, and the engine counts.
    """
    longest, prompt = longest_of(cost, len(asked.prompts)), max(asked.prompts, default=0)
    left = longest - prompt
    least = 1 if asked.answer_tokens is None else min(1, asked.answer_tokens)
    cap = None
    if asked.exact and left < least:
        return _too_long(cost, asked, prompt + max(least, asked.answer_tokens or 0), longest)
    if asked.exact and cost.longest_prompt_tokens is not None and prompt > cost.longest_prompt_tokens:
        return _prompt_too_long(cost, asked, prompt)
    answer = asked.answer_tokens
    if answer is None:
        answer = max(least, left if limits.answer_tokens is None else min(left, limits.answer_tokens))
        cap = answer if limits.caps_answers and asked.exact else None
    elif answer > left and asked.exact:
        if not limits.caps_answers:
            return _too_long(cost, asked, prompt + answer, longest)
        answer = cap = left
    ticket = Ticket(
        id=asked.id,
        client=asked.client,
        cost_bytes=0,
        prompts=asked.prompts if asked.exact else tuple(min(tokens, max(0, longest - least)) for tokens in asked.prompts),
        answer_tokens=answer,
        at=asked.at,
        replays_left=limits.replays,
        exact=asked.exact,
        is_stated=asked.answer_tokens is not None or cap is not None,
    )
    return replace(ticket, cost_bytes=ticket_bytes(cost, ticket)), cap


def longest_of(cost: CostModel, sequences: int) -> int:
    """The longest of so many sequences alike that the pool holds together."""
    return cost.longest_within(cost.pool_bytes // max(1, sequences))


def ticket_bytes(cost: CostModel, ticket: Ticket) -> int:
    """Cache of all its sequences at their longest; at most the pool for one that is only bounded."""
    need = sum(cost.cost_bytes(min(cost.longest_tokens, tokens + ticket.answer_tokens)) for tokens in ticket.prompts)
    return need if ticket.exact else min(need, cost.pool_bytes)


def again(cost: CostModel, limits: Limits, ticket: Ticket) -> Ticket | Refuse:
    """The same ticket after the engine came back with another plan."""
    asked = Arrived(
        id=ticket.id, client=ticket.client, prompts=ticket.prompts, answer_tokens=ticket.answer_tokens, at=ticket.at, exact=ticket.exact
    )
    found = price(cost, replace(limits, caps_answers=False), asked)
    return found if isinstance(found, Refuse) else replace(ticket, cost_bytes=found[0].cost_bytes)


def _too_long(cost: CostModel, asked: Arrived, need: int, longest: int) -> Refuse:
    count = len(asked.prompts)
    least = "at least " if asked.is_least else ""
    many = f"{format_count(count)} sequences of " if count > 1 else ""
    whole = max(asked.prompts, default=0)
    answer = need - whole
    left = longest - whole
    if left > 0:
        held, hint = f"{format_count(longest)} is the longest that fits", f"ask for at most {format_count(left)} tokens of answer"
    elif count > 1 and need <= cost.longest_tokens:
        held, hint = f"the cache holds {format_count(cost.pool_bytes // cost.cost_bytes(need))} of them", "ask for fewer in one request"
    else:
        held, hint = (
            f"{format_count(longest)} is the longest that fits",
            f"shorten the prompt by {least}{format_count(need - longest)} tokens",
        )
    what = (
        f"This request needs {least}{many}{format_count(need)} tokens "
        f"({format_count(whole)} of prompt and {format_count(answer)} of answer), and {held}; {hint}"
    )
    return Refuse(id=asked.id, status=400, what=f"{what}.", unit="tokens", need=need, have=longest, longest_tokens=longest)


def _prompt_too_long(cost: CostModel, asked: Arrived, prompt: int) -> Refuse:
    most = cost.longest_prompt_tokens or 0
    what = (
        f"The prefill of {format_count(prompt)} prompt tokens needs more workspace than the device has left beside the cache; "
        f"a prompt of {format_count(most)} tokens is the longest that fits."
    )
    return Refuse(id=asked.id, status=400, what=what, unit="prompt tokens", need=prompt, have=most, longest_tokens=most)
