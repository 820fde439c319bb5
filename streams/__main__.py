"""``python -m streams`` is `dia`."""

import sys

from streams.entry import main

sys.exit(main())
