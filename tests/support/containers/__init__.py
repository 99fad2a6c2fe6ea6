"""What the tests of the images share: ``engine`` builds and asks, ``project`` is one compose project, ``histories``
compares what workers heard with what the journal says, ``slow_link.py`` runs inside a container.
"""
