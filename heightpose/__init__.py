"""heightpose: crown-heel length of an infant from an ordinary camera above the cot."""

__version__ = "0.1.0"
