"""`python -m tasks.dbt_worker FD`: take commands until the input ends; answers go to the file descriptor."""

from __future__ import annotations

import sys

from tasks.imports import uncollected

# Ctrl-C of whoever started us, or the end of our input, while nothing is being done.
try:
    with uncollected():
        from tasks.dbt_worker.worker import main
    main(int(sys.argv[1]))
except KeyboardInterrupt:
    sys.exit(130)
