"""The pipeline without HTTP: what is prepared, kept and refused, and how operations run."""
