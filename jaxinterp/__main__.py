"""`python -m jaxinterp`."""

import sys

from jaxinterp.cli import main

if __name__ == "__main__":
    sys.exit(main())
