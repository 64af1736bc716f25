"""A kit that measures a real GPU in one go: ``tests/gpu/run``.

Imported as ``kit`` by its own processes, with ``tests/gpu`` on the path, and as ``tests.gpu.kit`` by the tests: so its
modules name each other by their place beside each other. It uses the project as a stranger does, through ``wattshed``.
"""
