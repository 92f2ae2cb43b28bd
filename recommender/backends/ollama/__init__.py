"""The model edge to an Ollama server: an address, a client, its errors, a backend.

Apart from `embedded` because nothing here holds a model: what crosses the wire is text out,
and text with at most 20 log-probabilities a token back. What servers really do is recorded
in the transcripts that the tests replay; where a line looks odd, one of those is the reason.
"""
