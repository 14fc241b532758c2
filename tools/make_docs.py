"""Writes the generated pages of ``docs/``, or with ``--check`` says which are stale.

cli.md from the verbs, engines.md from the engines' profiles, families.md from the families, constants.md from every constant with its
source, json.md from a real plan, watch.md, guard.md and grafana.json from the metrics of a watch and of the guard, accuracy.md from the
measured rows when their tests are there.
"""

import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from ullage import architectures, cli, engines, wire
from ullage.catalog import models
from ullage.commands.verb import Verb
from ullage.domain.guard import SERIES
from ullage.domain.provenance import Assumed, Cited, Source
from ullage.report.watch_dashboard import dashboard
from ullage.report.watch_metrics import METRICS

ROOT = Path(__file__).parent.parent
NOTE = "<!-- written by tools/make_docs.py; `make docs` writes it again -->\n\n"


def table(header: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def cli_page() -> str:
    """Every verb with its options."""
    verbs = [cli.load(name) for name in cli.VERBS]
    return "# The command line\n\n" + "\n".join(_verb(verb) for verb in verbs) + EXIT_CODES


EXIT_CODES = """
## Exit codes

| code | meaning |
| --- | --- |
| 0 | it fits (or is tight), or the question is answered |
| 1 | it does not fit, the engine would refuse to start, or the checked command is wrong |
| 2 | the request is wrong |
| 3 | the model, engine release or file is not supported |
| 4 | the world failed: a driver, a file that is not there or cannot be read, the network |

Sizes are read as they are written: `24GiB` is 24 x 2^30 bytes and `80GB` is 80 x 10^9. Lengths follow vLLM's own reading: `32k` is 32,000
and `32K` is 32,768.
"""


def _verb(verb: Verb) -> str:
    argument = f" {verb.argument.name.upper()}" if verb.argument else ""
    rows = (
        (", ".join(f"`{spelling}{' ' + option.metavar if option.metavar else ''}`" for spelling in option.spellings), option.help)
        for option in verb.options
    )
    return f"## ullage {verb.name}{argument}\n\n{verb.help}\n\n" + table(("option", "meaning"), rows)


def engines_page() -> str:
    """Every engine with its releases and settings."""
    parts = ["# Engines\n"]
    for name, engine in sorted(engines.engines().items()):
        profile = engine.profile
        parts.append(
            f"## {profile.title} (`{name}`)\n\nReleases {profile.oldest} to {profile.newest}; {profile.default} unless another is said. "
            f"Devices: {', '.join(sorted(profile.device_kinds))}. Package: `{profile.package}`.\n"
        )
        parts.append(table(("setting", "default", "meaning"), ((f"`{k.name}`", k.default, k.meaning) for k in profile.knobs)))
    return "\n".join(parts)


def families_page() -> str:
    """Every family and the model types it reads, and the bundled models."""
    titles: dict[str, list[str]] = {}
    for model_type, family in architectures.families().items():
        titles.setdefault(family.title, []).append(model_type)
    rows = ((title, ", ".join(f"`{word}`" for word in sorted(words))) for title, words in sorted(titles.items()))
    bundled = "\n".join(f"- {model.id}" for model in sorted(models.bundled(), key=lambda model: model.id.lower()))
    return "# Model families\n\n" + table(("family", "model_type"), rows) + f"\n## Bundled configurations\n\n{bundled}\n"


def constants_page() -> str:
    """Every figure that is not derived, with its range and source."""

    def rows() -> Iterator[tuple[str, ...]]:
        for name, engine in sorted(engines.engines().items()):
            for constant in engine.profile.constants:
                span = f"{constant.low:,} to {constant.high:,}" if constant.low is not None and constant.high is not None else ""
                yield name, f"`{constant.name}`", f"{constant.value:,}", span, constant.unit, _source(constant.source)

    header = ("engine", "constant", "value", "seen range", "unit", "source")
    return "# Constants\n\nFigures that no formula gives, each with where it is from.\n\n" + table(header, rows())


def _source(source: Source) -> str:
    match source:
        case Cited():
            return source.at
        case Assumed():
            return f"assumed: {source.why}"
        case _:
            return f"measured: {source.record}"


EXAMPLE = ("plan", "Qwen3-8B", "--gpu", "RTX 4090", "--context", "16K", "--concurrency", "2", "--json")


def json_page() -> str:
    """The JSON of a plan, described and shown."""
    shown = subprocess.run([sys.executable, "-m", "ullage", *EXAMPLE], check=False, capture_output=True, text=True).stdout
    words = " ".join(f'"{word}"' if " " in word else word for word in EXAMPLE)
    return (ROOT / "tools" / "json_page.md").read_text() + f"\n## Example\n\n`ullage {words}`\n\n```json\n{shown}```\n"


def watch_page() -> str:
    """What ``ullage watch`` tells: its metrics, and the alarms with the figures they go by."""
    labels = (", ".join(f"`{label}`" for label in metric.labels) for metric in METRICS)
    rows = ((f"`{metric.name}`", metric.kind, names, metric.help) for metric, names in zip(METRICS, labels, strict=True))
    return (ROOT / "tools" / "watch_page.md").read_text() + "\n## Metrics\n\n" + table(("name", "kind", "labels", "meaning"), rows)


def guard_page() -> str:
    """What the guard answers, writes down and counts."""
    rows = ((f"`{one.name}`", one.kind, f"`{one.label}`" if one.label else "", one.help) for one in SERIES)
    return (ROOT / "tools" / "guard_page.md").read_text() + "\n## Metrics\n\n" + table(("name", "kind", "label", "meaning"), rows)


def grafana() -> str:
    """The dashboard as Grafana imports it."""
    return wire.dumps(dashboard(), indent=2) + "\n"


def accuracy_page() -> str | None:
    """The scores over measured rows, where the tool for them is there."""
    path = ROOT / "tools" / "accuracy.py"
    if not path.exists():
        return None
    spec = importlib.util.spec_from_file_location("accuracy", path)
    if spec is None or spec.loader is None:
        return None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(ROOT))
    spec.loader.exec_module(module)
    return str(module.render())


def readme() -> str:
    """The README with every ``<!-- first N lines of: … -->`` block filled by the program's real output."""
    text = (ROOT / "README.md").read_text()
    return re.sub(r"<!-- first (\d+) lines of: ([^\n]*) -->\n```console\n(.*?)```", _filled, text, flags=re.DOTALL)


def _filled(match: re.Match[str]) -> str:
    most, line = int(match[1]), match[2]
    words = shlex.split(line)[1:]
    done = subprocess.run([sys.executable, "-m", "ullage", *words], check=False, capture_output=True, text=True, encoding="utf-8")
    rows = [row.rstrip() for row in (done.stdout + done.stderr).splitlines()]
    rest = [f"... {len(rows) - most} lines more"] if len(rows) > most else []
    shown = "\n".join([*rows[:most], *rest])
    return f"<!-- first {most} lines of: {line} -->\n```console\n$ {line}\n{shown}\n```"


PAGES: dict[str, Callable[[], str | None]] = {
    "cli.md": cli_page,
    "engines.md": engines_page,
    "families.md": families_page,
    "constants.md": constants_page,
    "json.md": json_page,
    "watch.md": watch_page,
    "guard.md": guard_page,
    "grafana.json": grafana,
    "accuracy.md": accuracy_page,
}


def main() -> int:
    """Write the pages, or with ``--check`` return 1 when one is stale."""
    check, stale = "--check" in sys.argv, []
    for name, make in PAGES.items():
        text = make()
        if text is None:
            continue
        path = ROOT / "docs" / name
        wanted = text if name.endswith(".json") else NOTE + text
        if path.exists() and path.read_text() == wanted:
            continue
        stale.append(name)
        if not check:
            path.write_text(wanted)
            print(f"wrote docs/{name}")
    wanted = readme()
    if (ROOT / "README.md").read_text() != wanted:
        stale.append("README.md")
        if not check:
            (ROOT / "README.md").write_text(wanted)
    if check and stale:
        print(f"stale: {', '.join(stale)}; run `make docs`")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
