"""A weights file for another runtime: written, compared with its source, and kept only where they agree."""
