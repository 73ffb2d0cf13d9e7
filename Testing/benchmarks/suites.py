"""What the accuracy of methods is measured on: data, splits, sizes; the same for all methods."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Split:
    """Positions in ``train.list``.

    Attributes:
        training: Cases of the cases folder, the labelled ones first.
        held_out: Cases that are evaluated, and that the cases folder does not hold.
    """

    training: tuple[int, ...]
    held_out: tuple[int, ...]


@dataclass(frozen=True)
class Suite:
    """What is trained on and what is evaluated.

    Attributes:
        data: Folder below the data folder.
        splits: One, or one per fold.
        labelled: How many of the training cases keep their labels.
        options: Options of every run, for each scale: ``"cpu"`` and ``"gpu"``.
        methods: Methods at CPU scale, if not all.
        also: Further numbers of labelled cases at GPU scale.
        refused_by: Methods that cannot learn from it.
    """

    data: str
    splits: tuple[Split, ...]
    labelled: int
    options: dict[str, dict[str, Any]]
    methods: tuple[str, ...] = ()
    also: tuple[int, ...] = ()
    refused_by: tuple[str, ...] = ()


def _folds(cases: int, folds: int) -> tuple[Split, ...]:
    """Every case is held out once; the others keep their order."""
    size = cases // folds
    return tuple(
        Split(
            tuple(number for number in range(cases) if not size * fold <= number < size * (fold + 1)),
            tuple(range(size * fold, size * (fold + 1))),
        )
        for fold in range(folds)
    )


_GPU = {"iterations": 20000, "width": 32, "labelled_batch": 4, "unlabelled_batch": 4}

SUITES = {
    "la2018": Suite(
        "la2018",
        (Split(tuple(range(40)), tuple(range(40, 60))),),
        labelled=4,
        options={
            "cpu": {
                "spacing": "2,2,2",
                "width": 16,
                "stem": "strided",
                "local_window": "24,40,56",
                "global_window": "32,56,80",
                "iterations": 4000,
            },
            "gpu": {**_GPU, "spacing": "0.625,0.625,0.625"},
        },
        also=(8,),
        refused_by=("versemi",),  # its tasks are structures, and here is one
    ),
    "hippocampus": Suite(
        "hippocampus",
        (Split(tuple(range(128)), tuple(range(148, 208))),),
        labelled=8,
        options={
            "cpu": {
                "spacing": "1,1,1",
                "width": 16,
                "stem": "strided",
                "local_window": "24,32,24",
                "global_window": "40,56,40",
                "iterations": 4000,
            },
            "gpu": {**_GPU, "iterations": 8000},
        },
    ),
    "chaos_mr": Suite(
        "chaos_mr",
        _folds(12, 3),
        labelled=2,
        options={
            "cpu": {
                "spacing": "7.7,2.5,2.5",
                "width": 16,
                "stem": "strided",
                "local_window": "16,64,64",
                "global_window": "32,144,160",
                "iterations": 1200,
            },
            "gpu": _GPU,
        },
    ),
    "btcv_ct": Suite(
        "btcv_ct",
        _folds(12, 3),
        labelled=2,
        options={
            "cpu": {
                "spacing": "4,2.5,2.5",
                "width": 16,
                "stem": "strided",
                "local_window": "24,56,72",
                "global_window": "64,112,144",
                "iterations": 2000,
            },
            "gpu": _GPU,
        },
        methods=("supervised", "cr_gloco", "versemi"),
    ),
}

# What recipes may be compared on while they are made: cases that the suites above do not evaluate.
SUITES["la2018_dev"] = replace(SUITES["la2018"], splits=(Split(tuple(range(30)), tuple(range(30, 40))),))
SUITES["hippocampus_dev"] = replace(
    SUITES["hippocampus"], splits=(Split(tuple(range(128)), tuple(range(128, 148))),)
)
SUITES["hippocampus_dev60"] = replace(
    SUITES["hippocampus"], splits=(Split(tuple(range(88)), tuple(range(88, 148))),)
)
# Twelve cases are too few to keep some for this alone: other folds evaluate these.
SUITES["chaos_dev"] = replace(SUITES["chaos_mr"], splits=(Split((4, 5, 6, 7, 0, 1), (8, 9, 10, 11)),))
# A third of the voxels: a training of a quarter of an hour.
SUITES["btcv_dev"] = replace(
    SUITES["btcv_ct"],
    splits=(Split((4, 5, 6, 7, 0, 1), (8, 9, 10, 11)),),
    options={
        "cpu": {
            **SUITES["btcv_ct"].options["cpu"],
            "spacing": "5,3.5,3.5",
            "local_window": "16,40,56",
            "global_window": "48,80,104",
        }
    },
)
# Other labels and other cases: here thresholds on the teachers' answers let large organs grow.
SUITES["btcv_dev2"] = replace(SUITES["btcv_dev"], splits=(Split((2, 3, 0, 1, 8, 9, 10, 11), (4, 5, 6, 7)),))
