"""`python -m forksocks`."""

import sys

from forksocks.cli import main

if __name__ == "__main__":
    sys.exit(main())
