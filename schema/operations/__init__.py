"""The building blocks of mutations and subscriptions: payloads, inputs, error messages."""
