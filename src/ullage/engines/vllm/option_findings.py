"""What is wrong or noteworthy about one option, in words: the engine's own error where it stops, and the next step."""

from ullage.domain.plan import Finding
from ullage.engines.vllm.flags import FLAGS, flag_called, nearest
from ullage.engines.vllm.flags_kinds import Flag, Release
from ullage.engines.vllm.option_match import UNDERSCORES, Match

_MOST = 4


def written(at: Release) -> str:
    """A release as people write it."""
    return ".".join(str(part) for part in at)


def span(flag: Flag) -> str:
    """The releases that have a flag, in words."""
    if flag.last is None:
        return f"came with {written(flag.first)}"
    return f"is in {written(flag.first)} to {written(flag.last)} only"


def remark(text: str) -> Finding:
    """Something to know that does not stop the engine."""
    return Finding(text=text, wrong=False)


def unrecognised(match: Match, words: tuple[str, ...], at: Release) -> Finding:
    """An option the release does not have: removed, still to come, misspelt, or of another engine."""
    start = f"vLLM {written(at)} stops with `error: unrecognized arguments: {' '.join(words)}`"
    flag = flag_called(match.text) if match.text.startswith("--") else None
    if flag is not None and flag.is_in(at) and at < UNDERSCORES:
        return Finding(text=f"{start}: underscores are read since {written(UNDERSCORES)}; write {flag.option}")
    if flag is not None:
        tail = f"; {flag.instead}" if flag.last is not None and at > flag.last and flag.instead else ""
        return Finding(text=f"{start}: {flag.option} {span(flag)}{tail}")
    return Finding(text=f"{start}{_nearest(match.text, at)}")


def _nearest(text: str, at: Release) -> str:
    if text.startswith("--no-"):
        flag = flag_called(text.removeprefix("--no-"))
        if flag is not None and flag.is_in(at):
            return f": {flag.option} has no opposite in this release; leave it out"
    close = nearest(text, at)
    if close:
        return f"; the nearest right name is --{close[0]}"
    elsewhere = next((flag for flag in FLAGS if flag.name in nearest(text)), None)
    return f"; the nearest is {elsewhere.option}, which {span(elsewhere)}" if elsewhere else ""


def ambiguous(match: Match, at: Release) -> Finding:
    """The beginning of several names."""
    more = f" and {len(match.candidates) - _MOST} more" if len(match.candidates) > _MOST else ""
    names = ", ".join(match.candidates[:_MOST])
    flag = flag_called(match.text)
    was = f" ({flag.option} {span(flag)}{'; ' + flag.instead if flag.instead else ''})" if flag and not flag.is_in(at) else ""
    return Finding(text=f"vLLM {written(at)} stops with `error: ambiguous option: {match.text} could match {names}`{more}{was}")


def abbreviated(match: Match) -> Finding:
    """The beginning of one name."""
    return remark(f"{match.text} is read as {match.full}, because no other flag begins like it today; write {match.full}")


def takes_no_value(match: Match, flag: Flag) -> Finding:
    """``--switch=False``."""
    names = f"{flag.option}/--no-{flag.name}" if flag.kind == "pair" else flag.option
    return Finding(
        text=f"vLLM stops with `error: argument {names}: ignored explicit argument {match.explicit!r}`; "
        + ("write --no-" + flag.name + " to switch it off" if flag.kind == "pair" else "write it without a value, or leave it out")
    )


def swallowed(match: Match, flag: Flag, word: str, *, as_model: bool) -> Finding:
    """``--switch False``: the word is not the switch's."""
    opposite = f"write --no-{flag.name}" if flag.kind == "pair" else "leave the flag out"
    what = (
        f"{word!r} is taken for the model's name and the flag stays on"
        if as_model
        else f"the engine stops with `error: unrecognized arguments: {word}`"
    )
    return Finding(text=f"{match.full} takes no value: {what}; to switch it off, {opposite}")


def repeated(flag: Flag) -> Finding:
    """A flag that stands twice."""
    return remark(f"{flag.option} stands more than once; the last one counts")
