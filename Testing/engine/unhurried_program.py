"""The command line in float32, and in no hurry.

Sums in bf16 depend on how a batch is divided among processes; and who wants to stop a training of tiny
phantoms must be faster than it is, on any computer.
"""

import sys
import time
from typing import Any

from crgloco.__main__ import main
from crgloco.networks import precision
from crgloco.training.trainer import Trainer

PAUSE_S = 0.1

if __name__ == "__main__":
    precision.has_bf16 = lambda _device: False
    update = Trainer._update

    def unhurried(trainer: Trainer, *given: Any) -> Any:
        time.sleep(PAUSE_S)
        return update(trainer, *given)

    Trainer._update = unhurried
    sys.exit(main())
