"""The command line in float32 everywhere: sums in bf16 depend on how a batch is divided among processes."""

import sys

from crgloco.__main__ import main
from crgloco.networks import precision

if __name__ == "__main__":
    precision.has_bf16 = lambda _device: False
    sys.exit(main())
