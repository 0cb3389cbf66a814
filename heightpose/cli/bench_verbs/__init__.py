"""One module per verb of ``heightpose bench``."""
