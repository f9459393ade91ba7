"""What every face of the host shows, as lines of text with moods: no terminal, no Textual.

``top`` prints these lines, the monitor paints them; so both say the same with the same words.
"""
