"""What the demo reports to its user as one line."""


class DemoError(Exception):
    """A package or file that the demo needs is missing or of no use; the text says which and the remedy."""
