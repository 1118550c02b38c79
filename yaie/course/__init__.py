"""The course: exercises made from the engine, checks in a sandbox, hints and a progress board."""
