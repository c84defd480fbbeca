"""The demo world: drawings, a booru that serves them, a tagger and a model that know them."""
