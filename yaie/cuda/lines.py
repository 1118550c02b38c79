from .source import where_line  # noqa: F401
