"""Marketing sources: files first; each lands what MongoDB lands, in the same shape."""
