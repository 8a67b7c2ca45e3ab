"""The tests that every deployment must pass, run by ``pixloop.verification.run``."""
