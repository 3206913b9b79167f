"""`python -m minires.cli`: the same as the command `minires`."""

import sys

from minires.cli import main

sys.exit(main())
