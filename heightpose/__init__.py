"""heightpose: crown-heel length of an infant from an ordinary camera above the cot."""

import sys

__version__ = "0.1.0"

# OpenVINO (at its import) and NNCF tell their maker of their use over the network, through this package where it can be
# imported; where it cannot, both go on without. Nothing leaves the machine unless asked.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
