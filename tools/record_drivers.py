"""Writes what the drivers of this machine tell, in the form that the tests replay: ``python tools/record_drivers.py FOLDER``."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ullage import wire

COMMANDS = {
    "xpu_smi.json": ("xpu-smi discovery -j", "xpu-smi discovery -d 0 -j", "xpu-smi stats -d 0 -j", "xpu-smi ps -d 0 -j"),
    "apple.json": ("ioreg -r -d 1 -w 0 -c IOAccelerator", "sysctl -n iogpu.wired_limit_mb"),
}
HOST = ("meminfo", "vmstat", "pressure/memory", "self/cgroup", "self/stat", "self/comm", "self/status", "self/smaps_rollup")
GROUPS = ("memory.max", "memory.current", "memory.pressure", "memory.limit_in_bytes", "memory.usage_in_bytes")


def nvml_calls() -> list[Any]:
    """Every call that the NVIDIA driver makes, with its answer or the number of its error."""
    import pynvml  # noqa: PLC0415 - only where there is a card

    calls: list[Any] = []

    def ask(name: str, *words: Any, shown: tuple[Any, ...]) -> Any:
        try:
            told = getattr(pynvml, name)(*words)
        except pynvml.NVMLError as error:
            calls.append([name, list(shown), {"error": error.value}])
            return None
        calls.append([name, list(shown), plain(told)])
        return told

    pynvml.nvmlInit()
    for index in range(ask("nvmlDeviceGetCount", shown=()) or 0):
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        calls.append(["nvmlDeviceGetHandleByIndex", [index], f"card {index}"])
        for name in ("Name", "MemoryInfo", "UtilizationRates", "ComputeRunningProcesses", "GraphicsRunningProcesses"):
            ask(f"nvmlDeviceGet{name}", handle, shown=(f"card {index}",))
    pynvml.nvmlShutdown()
    return calls


def plain(told: Any) -> Any:
    """A structure of the library as JSON."""
    if isinstance(told, list):
        return [plain(one) for one in told]
    names = [name for name in ("total", "used", "free", "gpu", "memory", "pid", "usedGpuMemory") if hasattr(told, name)]
    return {name: getattr(told, name) for name in names} if names else told


def host_files() -> dict[str, str]:
    """The kernel's files that the host driver reads, of this process."""
    found = {}
    places = [Path("/proc") / name for name in HOST]
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, kinds, path = line.split(":", 2)
        folder = Path("/sys/fs/cgroup") / ("memory" if "memory" in kinds.split(",") else "") / path.strip("/")
        if "memory" in kinds.split(",") or not kinds:
            places += [folder / name for name in GROUPS]
    for place in places:
        try:
            found[str(place).lstrip("/")] = place.read_text()
        except OSError:
            continue
    return found


def main() -> int:
    """Record everything that answers."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    recordings: dict[str, Any] = {"host.json": {"files": host_files(), "pid": os.getpid()}}
    try:
        recordings["nvml.json"] = {"calls": nvml_calls()}
    except Exception as error:  # noqa: BLE001 - whatever a missing driver raises
        print(f"no NVML: {error}")
    for name, commands in COMMANDS.items():
        outputs = {}
        for command in commands:
            try:
                outputs[command] = subprocess.run(command.split(), capture_output=True, text=True, check=True, timeout=30).stdout
            except (OSError, subprocess.SubprocessError) as error:
                print(f"no {command}: {error}")
        if outputs:
            recordings[name] = {"outputs": outputs}
    for name, values in recordings.items():
        (folder / name).write_text(wire.dumps(values, indent=2) + "\n")
        print(f"wrote {folder / name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
