"""Write the command that starts a case: TabbyAPI with this engine as its backend, by options and by ``config.yml``."""

from ullage.catalog import tabbyapi
from ullage.domain.case import Case, Value
from ullage.domain.plan import Command
from ullage.engines.exllamav2.settings import INPUT_TOKENS, rules
from ullage.engines.exllamav2.versions import TABBY_RESERVE_MIB

BACKEND = "exllamav2"
NO_FLASH = "EXLLAMA_NO_FLASH_ATTN"


def command(case: Case) -> Command:
    """``python main.py`` with everything that matters to memory said."""
    settings = case.settings
    keys: dict[str, Value] = {"backend": BACKEND, "max_seq_len": settings.get("max_seq_len")}
    if rules(case).dynamic:
        keys["cache_size"] = settings.get("cache_size")
    keys["cache_mode"] = settings.get("cache_mode")
    keys["gpu_split"] = settings.get("gpu_split")
    usual: dict[str, Value] = {
        "autosplit_reserve": str(TABBY_RESERVE_MIB.value),
        "tensor_parallel": False,
        "chunk_size": INPUT_TOKENS,
        "max_batch_size": 1,
    }
    keys.update({name: settings.get(name) for name, value in usual.items() if settings.get(name) not in {None, value}})
    return tabbyapi.write(case.model.argument, keys, _environment(case))


def _environment(case: Case) -> tuple[tuple[str, str], ...]:
    found = dict(case.environment)
    if len(case.devices) < len(case.machine.devices):
        found["CUDA_VISIBLE_DEVICES"] = ",".join(str(index) for index in range(len(case.devices)))
    if case.settings.flag("no_flash_attn"):
        found[NO_FLASH] = "1"
    return tuple(found.items())
