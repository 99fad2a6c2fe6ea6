"""Programs that run as they are; see README.md in this folder."""
