"""The process: how requests come in, who is asking, how operations run, what is measured.

Lives here: the ASGI application, its transport, identity (token to Viewer), settings, the command line. May import
every floor below; nothing below may import it. Only :mod:`gateway.settings` reads the environment.
"""
