"""From a bearer token to a viewer: own tokens, external issuers, signing and encryption keys."""
