"""The process: transports, authentication, execution of operations, jobs, the command line and the settings.

May import schema/, resolvers/ and repositories/; none of them may import it. Only :mod:`gateway.settings` reads the
environment.
"""
