"""Demo data: believable people, categories, tasks and clients, the same for the same size and day.

``people.py``, ``tasks.py`` and ``clients.py`` make the rows, ``load.py`` writes them.
"""
