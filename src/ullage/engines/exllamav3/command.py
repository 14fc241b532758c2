"""Write the command that starts a case: TabbyAPI, by options and by ``config.yml``."""

from ullage.catalog import tabbyapi
from ullage.catalog.exllama_options import NONE
from ullage.domain.case import Case, Value
from ullage.domain.plan import Command
from ullage.engines.exllamav3.settings import CHUNK_TOKENS
from ullage.engines.exllamav3.versions import TABBY_RESERVE_MIB

BACKEND = "exllamav3"
_ALWAYS = ("max_seq_len", "cache_size", "cache_mode", "gpu_split", "max_batch_size")
_USUAL: dict[str, Value] = {
    "autosplit_reserve": str(TABBY_RESERVE_MIB.value),
    "tensor_parallel": False,
    "chunk_size": CHUNK_TOKENS,
    "cpu_moe_offload_layers": 0,
    "vision": False,
}


def command(case: Case) -> Command:
    """``python main.py`` with everything that matters to memory said; only the cards of the plan are visible."""
    said: dict[str, Value] = {"backend": BACKEND, **{name: case.settings.get(name) for name in _ALWAYS}}
    for name, usual in _USUAL.items():
        value = case.settings.get(name)
        if value is not None and value != usual:
            said[name] = value
    environment = dict(case.environment)
    if len(case.devices) < len(case.machine.devices) and case.settings.text("gpu_split") != NONE:
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(str(at) for at in range(len(case.devices)))
    elif len(case.machine.devices) > 1 and len(case.devices) == 1:
        environment["CUDA_VISIBLE_DEVICES"] = "0"
    return tabbyapi.write(case.model.argument, said, tuple(environment.items()))
