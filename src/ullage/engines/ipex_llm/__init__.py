"""IPEX-LLM and BigDL-LLM before it: ``generate`` with packed weights, and the forks of vLLM for Intel's cards."""

from ullage.domain.engine import Engine, Profile, Server
from ullage.engines.ipex_llm.capacity import capacity
from ullage.engines.ipex_llm.command import command
from ullage.engines.ipex_llm.ledger import ledger
from ullage.engines.ipex_llm.levers import layouts, levers
from ullage.engines.ipex_llm.log import read_log_line
from ullage.engines.ipex_llm.metrics import read_metrics
from ullage.engines.ipex_llm.notes import notes
from ullage.engines.ipex_llm.objections import objections
from ullage.engines.ipex_llm.read_command import read_command
from ullage.engines.ipex_llm.resolve import resolve
from ullage.engines.ipex_llm.settings import KNOBS, validate
from ullage.engines.ipex_llm.versions import CONSTANTS, DEFAULT, NEWEST, OLDEST

ENGINE = Engine(
    profile=Profile(
        name="ipex_llm",
        title="IPEX-LLM",
        oldest=OLDEST,
        newest=NEWEST,
        default=DEFAULT,
        knobs=KNOBS,
        constants=CONSTANTS,
        device_kinds=frozenset({"xpu", "cpu"}),
        package="ipex-llm[xpu] with its fork of vLLM, which the image intelanalytics/ipex-llm-serving-xpu holds",
        length_setting="max_model_len",
        distributions=("ipex-llm", "bigdl-llm"),
        servers=(Server(program="api_server", port=8000, settings=(("mode", "vllm"),)),),
    ),
    resolve=resolve,
    objections=objections,
    ledger=ledger,
    capacity=capacity,
    levers=levers,
    layouts=layouts,
    command=command,
    read_command=read_command,
    read_log_line=read_log_line,
    read_metrics=read_metrics,
    notes=notes,
    validate=validate,
)
