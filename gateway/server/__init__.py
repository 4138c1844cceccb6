"""The process: the ASGI application and its parts, uvicorn and its protocols, announcements between processes."""
