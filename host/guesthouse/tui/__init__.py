"""The monitor: a board live, replayed or in the demo. The only package that imports Textual."""
