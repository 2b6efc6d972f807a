"""`python -m reference_services.order`: the front door."""

import sys

from reference_services.order.main import main

sys.exit(main())
