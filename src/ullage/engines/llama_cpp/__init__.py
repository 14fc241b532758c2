"""llama.cpp, which Ollama uses too: GGUF weights, whole layers on devices and the rest in host memory, a cache of the stated size."""

from ullage.domain.engine import Engine, Extra, Profile, Server
from ullage.domain.workload import Growth
from ullage.engines.llama_cpp.capacity import capacity
from ullage.engines.llama_cpp.command import command
from ullage.engines.llama_cpp.fit import resolve
from ullage.engines.llama_cpp.flags import VERBOSITY
from ullage.engines.llama_cpp.ledger import ledger
from ullage.engines.llama_cpp.levers import layouts, levers
from ullage.engines.llama_cpp.log import read_log_line
from ullage.engines.llama_cpp.metrics import read_metrics
from ullage.engines.llama_cpp.notes import notes
from ullage.engines.llama_cpp.objections import objections
from ullage.engines.llama_cpp.read_command import read_command
from ullage.engines.llama_cpp.settings import KNOBS, validate
from ullage.engines.llama_cpp.versions import CONSTANTS, DEFAULT, NEWEST, OLDEST, QUIET_SINCE, SIZES_AT

ENGINE = Engine(
    profile=Profile(
        name="llama_cpp",
        title="llama.cpp",
        oldest=OLDEST,
        newest=NEWEST,
        default=DEFAULT,
        knobs=KNOBS,
        constants=CONSTANTS,
        device_kinds=frozenset({"cuda", "rocm", "mps", "xpu", "cpu"}),
        package="llama.cpp by brew, nix or winget, or the build for this machine of github.com/ggml-org/llama.cpp/releases",
        growth=Growth.SLOT,
        length_setting="ctx_size",
        servers=(
            Server(program="ollama", port=11434, variable="OLLAMA_HOST", health="/"),
            Server(
                port=8080,
                behind=(
                    Extra(words=("--metrics",)),
                    Extra(words=("--verbosity", SIZES_AT), instead=VERBOSITY, since=(QUIET_SINCE,)),  # to read what its buffers take
                ),
                images=(
                    ("cuda", "ghcr.io/ggml-org/llama.cpp:server-cuda-b{version}"),
                    ("cpu", "ghcr.io/ggml-org/llama.cpp:server-b{version}"),
                ),
            ),
        ),
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
