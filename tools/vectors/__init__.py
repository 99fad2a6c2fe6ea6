"""The golden test vectors of the wire format, in ``protos/testdata``; see ``__main__.py``."""
