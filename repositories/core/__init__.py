"""What every layer shares: errors, the viewer and its permissions, ids, time, encryption, the base class of events.

Imports nothing else of this project.
"""
