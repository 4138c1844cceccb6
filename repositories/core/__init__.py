"""Code that every layer uses: errors, the viewer, ids, time, encryption and the base class of events.

Imports repositories.permissions and nothing else of this project.
"""
