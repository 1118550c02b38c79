from .launchers import find_launchers  # noqa: F401
