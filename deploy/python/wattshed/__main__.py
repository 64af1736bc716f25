"""``python -m wattshed`` is the same as the ``wattshed`` command."""

import sys

from wattshed import main

sys.exit(main())
