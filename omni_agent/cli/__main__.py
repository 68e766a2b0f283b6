"""`python -m omni_agent.cli` is `omni-agent`."""

import sys

from omni_agent.cli.main import main

sys.exit(main())
