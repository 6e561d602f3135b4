"""`python -m pinned_requests`: the same as the `pinned-requests` command."""

import sys

from pinned_requests.cli import main

if __name__ == "__main__":
    sys.exit(main())
