"""Ullage says, before and while a large language model is served, how every byte of every device is used.

``ullage.plan``, ``ullage.check`` and ``ullage.diagnose`` give as values what the commands of the same names print.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ullage.domain.cause import Diagnosis
    from ullage.domain.plan import Plan

__version__ = "0.1.0"
__all__ = ["__version__", "check", "diagnose", "plan"]


def plan(model: str, **options: Any) -> "Plan":
    """How every byte will be used, whether it fits, and the command: ``plan("Qwen3-8B", gpu="H100-80GB", context=32768)``.

    The options are those of ``ullage plan`` with underscores: ``gpu``, ``engine``, ``context``, ``concurrency``, ``tp``, ``objective``
    and so on; ``set`` and ``env`` take a dictionary. Raises the errors of ``ullage.errors``; a plan that does not fit is a value.
    """
    from ullage.commands import plan as verb
    from ullage.world import real

    flags = verb.VERB.flags({**options, "model": model})
    return verb.make_plan(flags, real.world(offline=flags.flag("offline")))


def check(command: "str | Sequence[str]", **options: Any) -> "Plan":
    """The same for an engine command: ``check("vllm serve Qwen/Qwen3-8B", gpu="24GiB")``; what is wrong stands in ``findings``."""
    from ullage.commands import check as verb
    from ullage.world import real

    words = verb.split_line(command) if isinstance(command, str) else command
    flags = verb.VERB.flags({**options, "command": tuple(words)})
    return verb.make_check(flags, real.world(offline=flags.flag("offline")))


def diagnose(log: "str | Iterable[str]", **options: Any) -> "Diagnosis":
    """Why an engine died, from the text of its log or from its lines: ``diagnose(text, gpu="24GiB").causes``; empty when nothing failed.

    The options are those of ``ullage diagnose``; they add what the log does not tell.
    """
    from ullage.commands import diagnose as verb
    from ullage.world import real

    flags = verb.VERB.flags(options)
    return verb.make_diagnosis(flags, log.split("\n") if isinstance(log, str) else log, real.world(offline=flags.flag("offline")))
