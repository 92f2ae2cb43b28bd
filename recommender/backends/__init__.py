"""The model edge: language models that can be asked, behind one protocol."""
