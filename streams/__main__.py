"""``python -m streams`` is `dia`."""

import sys

from streams.cli import main

sys.exit(main())
