"""Tools for those who maintain the course: `python -m yaie.course.tools.NAME`."""
