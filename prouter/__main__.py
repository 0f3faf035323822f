"""`python -m prouter`."""

import sys

from prouter.cli.main import main

sys.exit(main())
