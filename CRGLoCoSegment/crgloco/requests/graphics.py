"""What torch and its GPUs say, asked in a process of its own.

Looking at a GPU takes some 300 MB of its memory, which CUDA gives back only when the process ends; and a
driver that crashes at it takes nobody along.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from crgloco.requests.fields import Answer

MB = 2**20
PATIENCE_S = 300.0  # on a cold, slow disk torch takes a minute; a driver that hangs takes for ever
NOTHING: Answer = {"torch": None, "cuda_build": None, "gpus": [], "torch_error": ""}


def ask() -> Answer:
    """Return what ``look`` finds; does not import torch here."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd=Path(__file__).parents[2],
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            timeout=PATIENCE_S,
        )
    except subprocess.TimeoutExpired:
        return {**NOTHING, "torch_error": f"torch did not answer in {PATIENCE_S:.0f} seconds"}
    try:
        answer: Answer = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        return {**NOTHING, "torch_error": last or f"The process ended with code {done.returncode}."}
    return answer


def look() -> Answer:
    """Return the version of torch, the CUDA it is built for, its GPUs, and why it fails.

    A GPU has ``name``, ``free_mb``, ``total_mb`` and ``fault``: why torch cannot compute on it; "" if it can.
    """
    try:
        import torch
    except Exception as error:  # noqa: BLE001  (a torch that is there and broken fails in many ways)
        missing = isinstance(error, ModuleNotFoundError) and error.name == "torch"
        return NOTHING if missing else {**NOTHING, "torch_error": f"{type(error).__name__}: {error}"}
    found = {**NOTHING, "torch": torch.__version__, "cuda_build": torch.version.cuda}
    try:
        found["gpus"] = [_gpu(torch, number) for number in range(torch.cuda.device_count())]
    except RuntimeError as error:  # a driver that does not fit, a card that fell off the bus
        found["torch_error"] = f"{type(error).__name__}: {error}"
    return found


def _gpu(torch: Any, number: int) -> Answer:
    from crgloco.inference.device import fault_of

    try:
        free, total = torch.cuda.mem_get_info(number)
    except RuntimeError:  # so full that CUDA cannot even start on it; or a fault, which is told below
        free, total = 0, torch.cuda.get_device_properties(number).total_memory
    return {
        "name": torch.cuda.get_device_name(number),
        "free_mb": round(free / MB),
        "total_mb": round(total / MB),
        "fault": fault_of(torch.device("cuda", number)),
    }


if __name__ == "__main__":
    json.dump(look(), sys.stdout)
