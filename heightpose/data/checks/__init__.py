"""Label checks: each looks at a whole data set and returns findings on one scale of severity."""

from heightpose.data.checks.finding import Finding, Fix
from heightpose.data.checks.run import check

__all__ = ["Finding", "Fix", "check"]
