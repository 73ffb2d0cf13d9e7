"""Make docs/benchmarks.md and its plot of the lines that accuracy.py wrote; no number is typed.

python Testing/benchmarks/accuracy_report.py Testing/benchmarks/results/*_cpu.jsonl
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from scipy.stats import wilcoxon
from suites import SUITES

from crgloco import methods

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs" / "benchmarks.md"
PLOT = REPOSITORY / "docs" / "benchmarks.png"
COLUMNS = (
    *("method", "labels", "updates", "seeds", "folds", "Dice", "median", "worst", "local", "global"),
    *("HD95 mm", "ASD mm", "missed", "Dice w/o", "HD95 w/o", "min", "MB"),
)
HEADER = (f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|")
INTRODUCTION = """# What each method is worth

Made by `python Testing/benchmarks/accuracy_report.py {files}` from the lines that `accuracy.py` wrote.

Every row: the last averaged weights, never selected; all windows, overlap 0.5, no mirrors, no
post-processing; Dice in percent, mean and standard deviation over seeds (each seed is the mean over folds
and cases; seeds that have run fewer folds than another one are left out), median and worst seed; distances
in mm, symmetric; "missed" counts structures that were not found, and that the distances leave out. "w/o":
the same answers without islands, as users get them by default: structures that were one piece in every
label of the training lose the pieces of which the global answer sees less than a third of what it sees of
the main one. Splits are those of `Testing/benchmarks/suites.py`, "labelled" the first cases of
`train.list`. No number here stands beside a published one: splits, sizes and lengths differ.
"""

AGAINST = """
## Against the supervised control

Dice points above `supervised` with the same labelled cases, updates, options and folds; mean and standard
deviation over the seeds, seed against seed. **Bold**: farther from 0 than twice that deviation. p: paired
Wilcoxon test, two-sided, the case as unit (its Dice averaged over structures and seeds).
The last column is the mean over the suites that a method was run on, beside their number; trainings of
another length, by another stem, or with the supervised loss as it was, have columns of their own and do
not count there.
"""

# Rows of 0.5 (CE + Dice) where there are more than two structures: the code of commit ff7ab2f or older.
FORMER = "supervised loss"
CONTROL_OPTIONS = {option["name"] for option in methods.card("supervised").to_json()["options"]} | {FORMER}
OWN_COLUMN = {"iterations", "stem", FORMER}

Entry = dict[str, Any]
Group = tuple[str, str, str, int, str]


def grouped(entries: list[Entry]) -> dict[Group, dict[int, list[Entry]]]:
    """Return method, configuration, options -> seed -> one entry per fold."""
    groups: dict[Group, dict[int, list[Entry]]] = defaultdict(lambda: defaultdict(list))
    for entry in entries:
        options = in_words(entry["options"])
        scale = f"{entry['suite']} ({entry['scale']})"
        method = f"{entry['start']}+{entry['method']}" if entry.get("start") else entry["method"]
        key = (scale, method, entry["configuration"], entry["labelled"], options)
        groups[key][entry["seed"]].append(entry)
    return {key: with_most_folds(seeds) for key, seeds in groups.items()}


def with_most_folds(seeds: dict[int, list[Entry]]) -> dict[int, list[Entry]]:
    """Leave out seeds that have run fewer folds than others: folds differ by more than seeds do."""
    most = max(len(folds) for folds in seeds.values())
    return {seed: folds for seed, folds in seeds.items() if len(folds) == most}


def in_words(options: dict[str, Any]) -> str:
    """Return options as they stand in the tables."""
    return ", ".join(f"{name} {value}" for name, value in sorted(options.items()))


def of_seeds(seeds: dict[int, list[Entry]], branch: str, metric: str) -> list[float]:
    """Return one number per seed: the mean over its folds."""
    values = []
    for folds in seeds.values():
        found = [
            fold[branch][metric] for fold in folds if branch in fold and fold[branch][metric] is not None
        ]
        if found:
            values.append(statistics.mean(found))
    return values


def spread(values: list[float], factor: float = 1.0, digits: int = 2) -> str:
    """Return mean and standard deviation in words."""
    if not values:
        return "-"
    deviation = f" ± {factor * statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{factor * statistics.mean(values):.{digits}f}{deviation}"


def row(key: Group, seeds: dict[int, list[Entry]]) -> str:
    """Return one line of the table."""
    _, _, _, labelled, options = key
    entries = [entry for folds in seeds.values() for entry in folds]
    fused = [100 * value for value in of_seeds(seeds, "fused", "dice")]
    branches = [spread(of_seeds(seeds, branch, "dice"), 100) for branch in ("local", "global")]
    dice = [spread(fused), f"{statistics.median(fused):.2f}", f"{min(fused):.2f}", *branches]
    distances = [spread(of_seeds(seeds, "fused", metric)) for metric in ("hd95_mm", "asd_mm")]
    whole = spread([100 * value for value in of_seeds(seeds, "without_islands", "dice")])
    missed = sum(entry["fused"]["missed"] for entry in entries)
    minutes = statistics.median(entry["training_seconds"] / 60 for entry in entries)
    memory = max((entry.get("peak_memory_mb", 0) for entry in entries), default=0)
    cells = [
        named(key, options),
        str(labelled),
        str(max(entry["updates"] for entry in entries)),
        str(len(seeds)),
        folds_run(entries),
        *dice,
        *distances,
        str(missed),
        whole,
        spread(of_seeds(seeds, "without_islands", "hd95_mm")),
        f"{minutes:.1f}",
        f"{memory}" if memory else "-",
    ]
    return f"| {' | '.join(cells)} |"


def folds_run(entries: list[Entry]) -> str:
    """Return how many folds of the suite these runs are of."""
    there = len(SUITES[entries[0]["suite"]].splits)
    return f"{len({entry['fold'] for entry in entries})} of {there}"


def named(key: Group, options: str = "") -> str:
    """Return a group's method with its configuration, if it is not the default one, and with options."""
    name = key[1] if key[2] == "default" else f"{key[1]}, {key[2]}"
    return f"{name} ({options})" if options else name


@dataclass(frozen=True)
class Gain:
    """Dice points above the control, one per seed, and the p of the test over cases."""

    points: list[float]
    p: float

    def __str__(self) -> str:
        mean, test = statistics.mean(self.points), f"p {self.p:.2g}"
        if len(self.points) == 1:
            return f"{mean:+.2f} (1 seed; {test})"
        deviation = statistics.stdev(self.points)
        text = f"{mean:+.2f} ± {deviation:.2f}"
        return f"{f'**{text}**' if abs(mean) > 2 * deviation else text} ({test})"


def of_cases(seeds: dict[int, list[Entry]]) -> dict[str, float]:
    """Return the Dice of every case, averaged over its structures and over the seeds."""
    values: dict[str, list[float]] = defaultdict(list)
    for folds in seeds.values():
        for fold in folds:
            for case, scores in fold["cases"].items():
                values[case].append(statistics.mean(score for score in scores.values() if score is not None))
    return {case: statistics.mean(found) for case, found in values.items()}


def p_value(seeds: dict[int, list[Entry]], control: dict[int, list[Entry]]) -> float:
    """Return p of the paired Wilcoxon test, two-sided, with the case as unit."""
    mine, other = of_cases(seeds), of_cases(control)
    differences = [mine[case] - other[case] for case in mine]
    return float(wilcoxon(differences).pvalue) if any(differences) else 1.0


def on_shared_folds(
    seeds: dict[int, list[Entry]], control: dict[int, list[Entry]]
) -> tuple[dict[int, list[Entry]], dict[int, list[Entry]]]:
    """Return, of the seeds for which the control has run all folds of a method, both runs on these folds."""
    mine, other = {}, {}
    for seed in sorted(set(seeds) & set(control)):
        folds = {entry["fold"] for entry in seeds[seed]}
        same = [entry for entry in control[seed] if entry["fold"] in folds]
        if len(same) == len(folds):
            mine[seed], other[seed] = seeds[seed], same
    return mine, other


def gains(groups: dict[Group, dict[int, list[Entry]]]) -> dict[tuple[str, str], Gain]:
    """Return (method with its own options, suite and length) -> what it gains on the control.

    Only runs of few labels are compared; of the options that the control has too, only the number of
    updates, the stem and a former loss may differ from the suite's.
    """
    found = {}
    fewest = {suite: min(key[3] for key in groups if key[0] == suite) for suite in {key[0] for key in groups}}
    for key, seeds in groups.items():
        options = next(iter(seeds.values()))[0]["options"]
        own = {name: value for name, value in options.items() if name not in CONTROL_OPTIONS}
        common = {name: value for name, value in options.items() if name in CONTROL_OPTIONS}
        control = groups.get((key[0], "supervised", "default", key[3], in_words(common)), {})
        mine, other = on_shared_folds(seeds, control)
        comparable = key[1] != "supervised" and key[3] == fewest[key[0]] and set(common) <= OWN_COLUMN
        if not mine or not comparable:
            continue
        column = f"{key[0]}, {in_words(common)}" if common else key[0]
        pairs = zip(of_seeds(mine, "fused", "dice"), of_seeds(other, "fused", "dice"), strict=True)
        found[named(key, in_words(own)), column] = Gain(
            [100 * (a - b) for a, b in pairs], p_value(mine, other)
        )
    return found


def against(groups: dict[Group, dict[int, list[Entry]]]) -> list[str]:
    """Return the lines of the table of gains over the control."""
    points = gains(groups)
    suites = sorted({suite for _, suite in points})
    of_own_length = {key[0] for key in groups}
    means = {
        method: [
            statistics.mean(points[method, suite].points)
            for suite in suites
            if (method, suite) in points and suite in of_own_length
        ]
        for method in {method for method, _ in points}
    }
    lines = [AGAINST, f"| method | {' | '.join(suites)} | mean |", "|---" * (len(suites) + 2) + "|"]
    for method in sorted(means, key=lambda name: (-statistics.mean(means[name] or [-math.inf]), name)):
        cells = [str(points.get((method, suite), "-")) for suite in suites]
        mean = f"{statistics.mean(means[method]):+.2f} ({len(means[method])})" if means[method] else "-"
        lines.append(f"| {method} | {' | '.join(cells)} | {mean} |")
    return lines


def page(entries: list[Entry], files: list[Path]) -> str:
    """Return the whole page as Markdown."""
    groups = grouped(entries)
    text = [INTRODUCTION.format(files=" ".join(str(path) for path in files))]
    for suite in sorted({key[0] for key in groups}):
        rows = sorted(
            ((key, seeds) for key, seeds in groups.items() if key[0] == suite),
            key=lambda item: (item[0][4], item[0][3], -statistics.mean(of_seeds(item[1], "fused", "dice"))),
        )
        text += [f"\n## {suite}\n", *HEADER, *(row(key, seeds) for key, seeds in rows)]
    return "\n".join([*text, *against(groups), "\n![Dice against the number of labels](benchmarks.png)\n"])


def draw(entries: list[Entry], path: Path) -> None:
    """Draw Dice against labelled cases: a panel per suite with its own options, a dot per seed."""
    groups = {key: seeds for key, seeds in grouped(entries).items() if not key[4]}
    suites = sorted({key[0] for key in groups})
    names = sorted({named(key) for key in groups})
    figure, panels = plt.subplots(1, len(suites), figsize=(4.5 * len(suites) + 2, 4), squeeze=False)
    for panel, suite in zip(panels[0], suites, strict=True):
        for key, seeds in groups.items():
            if key[0] != suite:
                continue
            values = [100 * value for value in of_seeds(seeds, "fused", "dice")]
            number = names.index(named(key))
            beside = key[3] * 1.05 ** (number - len(names) / 2)  # methods with as many labels side by side
            panel.plot([beside] * len(values), values, "o", color=f"C{number}", alpha=0.7)
        panel.set(title=suite, xlabel="labelled cases (methods side by side)", ylabel="Dice, %", xscale="log")
        counts = sorted({key[3] for key in groups if key[0] == suite})
        panel.set_xlim(counts[0] / 2, counts[-1] * 2)
        panel.set_xticks(counts, [str(count) for count in counts])
        panel.minorticks_off()
    handles = [plt.Line2D([], [], marker="o", ls="", color=f"C{n}") for n in range(len(names))]
    figure.legend(handles, names, loc="center right", fontsize=8)
    figure.tight_layout(rect=(0, 0, 1 - 1.9 / figure.get_figwidth(), 1))
    figure.savefig(path, dpi=100)


def main() -> int:
    """Write the page and the plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path)
    arguments = parser.parse_args()
    entries = [json.loads(line) for path in arguments.files for line in path.read_text().splitlines()]
    PAGE.write_text(page(entries, arguments.files), encoding="utf-8")
    draw(entries, PLOT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
