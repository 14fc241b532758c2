"""What to run."""

from ullage.domain.case import Case, Value
from ullage.domain.plan import Command
from ullage.engines.runtime.read_command import MODULE
from ullage.engines.runtime.settings import SETTINGS, flag_of
from ullage.engines.runtime.shares import memory_of

_ALWAYS = ("device", "dtype", "chunk", "max_len", "max_seqs")


def command(case: Case) -> Command:
    """``python -m ullage.runtime MODEL --flag VALUE``: what was said, and what the plan's figures rest on."""
    words = ["python", "-m", MODULE, case.model.argument]
    said = {*case.stated, *_ALWAYS, *(("memory",) if _is_machine_stated(case) else ())}
    for name in SETTINGS:
        value = case.settings.get(name)
        if value is not None and (name in said or not _is_default(name, value)):
            words += [flag_of(name), _written(value)]
    return Command(argv=tuple(words), environment=case.environment)


def _is_machine_stated(case: Case) -> bool:
    """Whether somebody said how much memory the devices have, which the runtime would not see; one bound holds for all of them."""
    return "device_memory" in case.stated and len({memory_of(case, device) for device in case.devices}) == 1


def _is_default(name: str, value: Value) -> bool:
    """Whether the runtime would come to it by itself; the memory follows from the machine."""
    return name == "memory" or value in {"native", True} or (name == "page_tokens" and SETTINGS[name].default == str(value))


def _written(value: Value) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)
