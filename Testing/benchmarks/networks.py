"""Time of one branch's network: stem, head, width, memory format and precision, forward and training.

    python Testing/benchmarks/networks.py [--rounds 3] [--threads N] [--no-json]

Every network does one window of the default sizes: 24 x 40 x 56 voxels of 2 mm (la2018) and
40 x 80 x 80 voxels of 7.7 x 1.25 x 1.25 mm (chaos_mr). *Forward* is what inference runs: evaluation
mode, one window, float32 through ``FastConvolutions`` as the predictor does it. *Training* is forward,
cross-entropy and backward on ``--batch`` windows. All variants take turns. Dice of the stems is measured
by ``accuracy.py``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import torch
from measuring import in_turn, keep, machine, print_table
from torch import nn
from torch.nn import functional

from crgloco.data.boxes import Triple
from crgloco.data.patches import resize
from crgloco.inference.convolutions import FastConvolutions
from crgloco.networks.backbones import Body, PublishedUNet, StemmedDynUNet
from crgloco.networks.dual_resolution import Head
from crgloco.networks.options import STEMS
from crgloco.networks.precision import has_bf16, mixed_precision

CPU = torch.device("cpu")
CLASSES = 5
LEVELS = 4
PLACES: tuple[tuple[Triple, tuple[float, float, float]], ...] = (
    ((24, 40, 56), (2.0, 2.0, 2.0)),
    ((40, 80, 80), (7.7, 1.25, 1.25)),
)
FORMATS = {"contiguous": torch.contiguous_format, "channels_last_3d": torch.channels_last_3d}
WORK = ("forward", "training")


@dataclass(frozen=True)
class Variant:
    """One network in one way to run it."""

    stem: str
    head: str
    width: int
    layout: str
    precision: str


class Branch(nn.Module):
    """A body and its head, as ``DualResolution`` runs them."""

    def __init__(self, body: Body, head: str) -> None:
        super().__init__()
        self.body = body
        self.head = Head(body.channels, CLASSES, body.stride, head)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Map (B, 1, K, J, I) to logits (B, C, K, J, I)."""
        k, j, i = image.shape[2:]
        return resize(self.head(self.body(image)), (k, j, i))


def variants(widths: list[int]) -> list[Variant]:
    """Return what is measured, the plain U-Net first; a stem at full resolution has one head."""
    networks = [("published", "linear", 16)]
    for stem in STEMS:
        heads = ("linear",) if stem == "full" else ("linear", "depth_to_space")
        networks += [(stem, head, width) for head in heads for width in widths]
    precisions = ("float32", "bf16") if has_bf16(CPU) else ("float32",)
    return [Variant(*network, layout, p) for network in networks for layout in FORMATS for p in precisions]


def build(variant: Variant, size: Triple, spacing: tuple[float, float, float]) -> Branch:
    """Build a network with the widths that ``methods.base`` gives it."""
    torch.manual_seed(0)
    body: Body
    if variant.stem == "published":
        body = PublishedUNet(1)
    else:
        widths = tuple(min(variant.width * 2**level, 4 * variant.width) for level in range(LEVELS))
        body = StemmedDynUNet(1, widths, size, spacing, variant.stem)
    return Branch(body, variant.head).to(memory_format=FORMATS[variant.layout])


def forward(network: Branch, variant: Variant, image: torch.Tensor) -> None:
    """Run one window as the predictor does."""
    network.eval()
    fast = FastConvolutions() if variant.precision == "float32" else nullcontext()
    with torch.inference_mode(), precision_of(variant), fast:
        network(image)


def training(network: Branch, variant: Variant, image: torch.Tensor, label: torch.Tensor) -> None:
    """Run forward, loss and backward."""
    network.train()
    network.zero_grad(set_to_none=True)
    with precision_of(variant):
        loss = functional.cross_entropy(network(image).float(), label)
    loss.backward()


def precision_of(variant: Variant) -> torch.autocast | nullcontext[None]:
    """Return the context of the variant's precision."""
    return mixed_precision(CPU) if variant.precision == "bf16" else nullcontext()


def measure(
    size: Triple, spacing: tuple[float, float, float], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Return one record per variant at one size."""
    chosen = variants(options.widths)
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(options.batch, 1, *size, generator=generator)
    label = torch.randint(0, CLASSES, (options.batch, *size), generator=generator)
    acts: dict[str, Callable[[], None]] = {}
    parameters = {}
    for variant in chosen:
        network = build(variant, size, spacing)
        parameters[variant] = sum(p.numel() for p in network.parameters())
        laid_out = image.to(memory_format=FORMATS[variant.layout])
        one = image[:1].to(memory_format=FORMATS[variant.layout])
        acts[f"forward {variant}"] = lambda n=network, v=variant, x=one: forward(n, v, x)  # type: ignore[misc]
        acts[f"training {variant}"] = lambda n=network, v=variant, x=laid_out: training(n, v, x, label)  # type: ignore[misc]
    taken = in_turn(acts, options.rounds)
    plain = {work: taken[f"{work} {chosen[0]}"].to_json() for work in WORK}
    records = []
    for variant in chosen:
        record: dict[str, Any] = asdict(variant) | {"parameters": parameters[variant]}
        for work in WORK:
            found = taken[f"{work} {variant}"].to_json()
            record |= {f"{work}_{key}": value for key, value in found.items()}
            record[f"{work}_times_faster"] = round(plain[work]["seconds"] / found["seconds"], 2)
            record[f"{work}_times_less_cpu"] = round(plain[work]["cpu_seconds"] / found["cpu_seconds"], 2)
        records.append(record)
    return records


def show(size: Triple, spacing: tuple[float, float, float], records: list[dict[str, Any]]) -> None:
    """Print the table of one size."""
    print(
        f"\n{size} voxels of {spacing} mm; 'x' = times as fast as the first row, 'x cpu' = by processor time"
    )
    headings = ("stem", "head", "width", "M parameters", "layout", "precision")
    rows = [
        (
            *(record[key] for key in ("stem", "head", "width")),
            f"{record['parameters'] / 1e6:.2f}",
            *(record[key] for key in ("layout", "precision")),
            *(
                cell
                for work in WORK
                for cell in (
                    f"{record[f'{work}_seconds']:.3f}",
                    record[f"{work}_times_faster"],
                    record[f"{work}_times_less_cpu"],
                )
            ),
        )
        for record in records
    ]
    print_table((*headings, "forward s", "x", "x cpu", "training s", "x", "x cpu"), rows)


def main() -> None:
    """Measure both sizes, print the tables, keep the numbers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=2, help="windows of a training step")
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 24, 32])
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--shrink", type=int, default=1, help="divide both sizes, to try it out")
    parser.add_argument("--no-json", action="store_true", help="do not add the run to the results")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    run = machine() | {"rounds": options.rounds, "training_batch": options.batch, "classes": CLASSES}
    print(run)
    run["sizes"] = []
    for full, spacing in PLACES:
        k, j, i = (max(16 * (1 + axis // 2), n // options.shrink // 8 * 8) for axis, n in enumerate(full))
        records = measure((k, j, i), spacing, options)
        show((k, j, i), spacing, records)
        run["sizes"].append({"size": (k, j, i), "spacing": spacing, "networks": records})
    if not options.no_json:
        print(f"\nAdded to {keep('networks', run)}")


if __name__ == "__main__":
    main()
