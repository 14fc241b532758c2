"""How fast a plan is: cold start against ``python -c pass``, in a warm process, and over many candidates; and the memory it takes.

Ratios and medians within one run, with processor time beside wall time, as machines are shared and noisy. Bytecode is compiled before
anything is timed. What is aimed at stands in brackets.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from measured import MIB, conditions, medians, surroundings

RUNS = 15
COMMAND = (sys.executable, "-m", "ullage", "plan", "Qwen3-8B", "--gpu", "H100-80GB", "--json")
NOBODY = "http://127.0.0.1:9"  # a proxy that nobody serves: a plan that asked the network would fail


def main() -> None:
    """Print one line a figure."""
    print(f"{conditions()}, median of {RUNS}", flush=True)
    with tempfile.TemporaryDirectory() as cache:
        around = surroundings(cache, HTTPS_PROXY=NOBODY, HTTP_PROXY=NOBODY)
        seen = medians({"pass": ((sys.executable, "-c", "pass"), around), "plan": (COMMAND, around)}, RUNS)
        cold, empty = seen["plan"], seen["pass"]
        print(f"cold start, wall: plan {cold.wall_s * 1e3:.0f} ms / python -c pass {empty.wall_s * 1e3:.0f} ms = ", end="")
        print(f"{cold.wall_s / empty.wall_s:.1f} x [at most 6 x; 200 ms]")
        print(f"cold start, CPU: plan {cold.processor_s * 1e3:.0f} ms / python -c pass {empty.processor_s * 1e3:.0f} ms = ", end="")
        print(f"{cold.processor_s / empty.processor_s:.1f} x")
        print(f"peak resident memory of a plan: {cold.peak_bytes / MIB:.0f} MiB [under 80 MiB]", flush=True)
        warm = (sys.executable, str(Path(__file__).with_name("warm.py")))
        subprocess.run(warm, env=around, check=True)
    print(conditions())


if __name__ == "__main__":
    main()
