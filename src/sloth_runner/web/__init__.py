"""Why: state, locks, runs and drift can be seen and searched in a browser, live, and changed with care.

``server`` listens; ``guard`` decides who may ask; ``api`` answers with documents, ``pages`` shows the same documents
as HTML; ``desk`` keeps blocking work on the store away from the event loop.
"""
