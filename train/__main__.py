"""`python -m train`, also under torchrun."""

import sys

from train.cli import main

sys.exit(main())
