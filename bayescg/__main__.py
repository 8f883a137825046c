"""`python -m bayescg`: the command line."""

import sys

from bayescg.cli import main

if __name__ == "__main__":
    sys.exit(main())
