"""What the guard adds: the same streams without it, through it, and through another proxy, in turns; then idle streams, then a soak.

``python tools/bench/guard.py [--other PYTHON] [--before SRC] [--streams 200] [--soak 60]``: ``--other`` is a Python in
whose environment ``litellm[proxy]`` is installed, ``--before`` the ``src`` of another commit. Everything runs on loopback on the cores
of this machine.
"""

import argparse
import asyncio
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from streams import IDLE, Ages, load, request

CHUNKS, GAP_S = 40, 0.05
WORDS = "Say in a few words how much memory a long conversation takes. " * 8
GOALS_MS = (2.0, 10.0)
IDLE_STREAMS, IDLE_GOAL_MIB = 2000, 300
OPEN_TO_ALL = {  # the other proxy as ours is: no key, nothing fetched
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOG": "ERROR",
}
HERE = Path(__file__).parent.resolve()


def free_port() -> int:
    """A port that nobody uses just now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextmanager
def running(
    argv: list[str], port: int, ready: str = "/health", patience_s: float = 120.0, source: str | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process of its own that listens on ``port``; ended afterwards."""
    environment = {**os.environ, **OPEN_TO_ALL, **({"PYTHONPATH": source} if source else {})}
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(argv, stdout=said, stderr=said, env=environment)
        try:
            end = time.monotonic() + patience_s
            while not answers(port, ready):
                if process.poll() is not None or time.monotonic() > end:
                    said.seek(0)
                    raise SystemExit(f"{argv[:3]} did not start: {said.read()[-2000:].decode(errors='replace')}")
                time.sleep(0.1)
            yield process
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()
            process.wait()


def answers(port: int, path: str) -> bool:
    """Whether something answers there."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as seen:
            return bool(seen.status == 200)  # noqa: PLR2004 - OK
    except (urllib.error.URLError, OSError):
        return False


def rss_mib(process: subprocess.Popen[bytes]) -> float:
    """Resident memory of one process."""
    fields = Path(f"/proc/{process.pid}/statm").read_text().split()
    return int(fields[1]) * resource.getpagesize() / (1 << 20)


def cpu_s(pid: int) -> float:
    """Processor seconds of one process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def line(name: str, ages: Ages, base: Ages | None, used_s: float) -> str:
    """One row: quantiles, what is added to the direct ones, and as a ratio."""
    parts = [f"{name:8}"]
    for title, values, others in (("chunk", ages.each, base and base.each), ("first", ages.first, base and base.first)):
        for part in (0.5, 0.99):
            seen = ages.quantile(values, part)
            more = ""
            if base is not None and others:
                was = base.quantile(others, part)
                more = f" ({seen - was:+.2f}, x{seen / was:.1f})"
            parts.append(f"{title} p{part * 100:.0f} {seen:.2f} ms{more}")
    return "  ".join([*parts, f"CPU {used_s:.1f} s", f"{len(ages.each):,} chunks", f"{ages.failed} failed"])


def compare(targets: dict[str, tuple[int, subprocess.Popen[bytes]]], streams: int, rounds: int, turns: int) -> dict[str, Ages]:
    """Streams through each target in turns, so that what else the machine does meets all alike; every turn is printed."""
    sums = {name: Ages() for name in targets}
    used = dict.fromkeys(targets, 0.0)
    for port, _ in targets.values():
        asyncio.run(load(port, 20, 1, WORDS))  # what is made on first use
    for turn in range(turns):
        for name, (port, process) in list(targets.items())[:: -1 if turn % 2 else 1]:
            before = cpu_s(process.pid)
            seen = asyncio.run(load(port, streams, rounds, WORDS, CHUNKS * GAP_S))
            used[name] += cpu_s(process.pid) - before
            sums[name].first += seen.first
            sums[name].each += seen.each
            sums[name].failed += seen.failed
            print(f"  turn: {line(name, seen, None, cpu_s(process.pid) - before)}  load average {os.getloadavg()[0]:.2f}", flush=True)
    for name, seen in sums.items():
        print(line(name, seen, None if name == "direct" else sums["direct"], used[name]))
    return sums


async def hold(port: int, streams: int) -> list[asyncio.StreamWriter]:
    """So many streams that have had one chunk and get no other."""
    writers = []
    for begin in range(0, streams, 100):
        opened = await asyncio.gather(*(asyncio.open_connection("127.0.0.1", port) for _ in range(min(100, streams - begin))))
        for _, writer in opened:
            writer.write(request(port, IDLE.decode()))
        for reader, writer in opened:
            await reader.readuntil(b"T")
            writers.append(writer)
    return writers


def idle(port: int, process: subprocess.Popen[bytes], streams: int) -> None:
    """Resident memory while all streams are open, and after they are closed."""

    async def both() -> None:
        before = rss_mib(process)
        writers = await hold(port, streams)
        await asyncio.sleep(2)
        held = rss_mib(process)
        for writer in writers:
            writer.close()
        await asyncio.sleep(2)
        print(
            f"idle: {streams:,} streams held in {held:.0f} MiB resident (before {before:.0f}, after {rss_mib(process):.0f}) "
            f"[under {IDLE_GOAL_MIB}: {'yes' if held < IDLE_GOAL_MIB else 'NO'}]"
        )

    asyncio.run(both())


def soak(seconds: float) -> None:
    """Short answers without a pause through a fresh guard; growth of its resident memory from the end of the first quarter on."""
    engine_port, port = free_port(), free_port()
    engine, guard = command("streams.py", engine_port, 2, 0), command("guarded.py", port, engine_port)
    with running(engine, engine_port), running(guard, port) as process:
        begun, answered, failed, seen = time.monotonic(), 0, 0, []
        while time.monotonic() - begun < seconds:
            ages = asyncio.run(load(port, 32, 20, WORDS))
            answered, failed = answered + len(ages.first), failed + ages.failed
            seen.append((time.monotonic() - begun, answered, rss_mib(process)))
    settled = next(row for row in seen if row[0] >= seconds / 4)
    print(
        f"soak: {answered:,} answers in {seen[-1][0]:.0f} s, {failed} failed; resident {settled[2]:.1f} -> {seen[-1][2]:.1f} MiB "
        f"over the last {answered - settled[1]:,}"
    )


def command(script: str, *words: object) -> list[str]:
    """One of our own processes."""
    return [sys.executable, str(HERE / script), *map(str, words)]


def litellm_config(folder: Path, port: int) -> Path:
    """One model that lies behind ``port``."""
    path = folder / "litellm.yaml"
    path.write_text(
        f"model_list:\n  - model_name: m\n    litellm_params:\n      model: openai/m\n      api_base: http://127.0.0.1:{port}/v1\n"
        "      api_key: none\nlitellm_settings:\n  telemetry: false\n"
    )
    return path


def read_arguments() -> argparse.Namespace:
    """What is to be measured."""
    said = argparse.ArgumentParser(description=__doc__)
    said.add_argument("--other", help="a Python with litellm[proxy]")
    said.add_argument("--before", help="the src of another commit, whose guard is measured too")
    said.add_argument("--streams", type=int, default=200)
    said.add_argument("--rounds", type=int, default=2)
    said.add_argument("--turns", type=int, default=3)
    said.add_argument("--soak", type=float, default=60.0)
    return said.parse_args()


def verdict(sums: dict[str, Ages]) -> str:
    """What the guard adds, against the goals."""
    guard, direct = sums["guard"], sums["direct"]
    words = []
    for name, seen, base in (("chunk", guard.each, direct.each), ("first chunk", guard.first, direct.first)):
        for part, goal in zip((0.5, 0.99), GOALS_MS, strict=True):
            more = guard.quantile(seen, part) - direct.quantile(base, part)
            words.append(f"{more:+.2f} ms to a {name} at p{part * 100:.0f} [under {goal:.0f}: {'yes' if more < goal else 'NO'}]")
    return f"the guard adds {', '.join(words)}"


def main() -> None:
    """Print every turn and the sums."""
    wanted = read_arguments()
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(65_536, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2)
    engine_port, guard_port, other_port = free_port(), free_port(), free_port()
    print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.2f}")
    print(f"{wanted.streams} streams of {CHUNKS} chunks {GAP_S * 1e3:.0f} ms apart, {wanted.rounds} answers each")
    engine, guard = command("streams.py", engine_port, CHUNKS, GAP_S), command("guarded.py", guard_port, engine_port)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream = stack.enter_context(running(engine, engine_port))
        guarded = stack.enter_context(running(guard, guard_port))
        targets = {"direct": (engine_port, upstream), "guard": (guard_port, guarded)}
        with ExitStack() as meanwhile:
            if wanted.before:
                before_port = free_port()
                before = running(command("guarded.py", before_port, engine_port), before_port, source=wanted.before)
                targets["before"] = (before_port, meanwhile.enter_context(before))
            if wanted.other:
                argv = [str(Path(wanted.other).parent / "litellm"), "--config", str(litellm_config(folder, engine_port))]
                other = running([*argv, "--port", str(other_port), "--host", "127.0.0.1"], other_port, "/health/liveliness")
                targets["litellm"] = (other_port, meanwhile.enter_context(other))
            print(verdict(compare(targets, wanted.streams, wanted.rounds, wanted.turns)))
        idle(guard_port, guarded, IDLE_STREAMS)
    if wanted.soak:
        soak(wanted.soak)
    print(f"load average at the end {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()
