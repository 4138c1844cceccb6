"""Demo data: believable people, categories and tasks, the same for the same size and day.

``people.py`` and ``tasks.py`` make the rows, ``load.py`` writes them.
"""
