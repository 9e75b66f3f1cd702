"""Written by FastServe; changes are overwritten. The code is in fastserve/engine."""

import sys

# Triton's stub ignores PYTHONPATH and virtual environments.
sys.path[:0] = ["/opt/fastserve/stub", "/opt/fastserve/code"]

from fastserve.engine.triton_model import TritonPythonModel  # noqa: E402, F401
